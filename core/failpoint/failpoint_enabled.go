//go:build failpoints

// Package failpoint lets a test kill the process at a named place, to show
// that nothing durable is lost there. In an ordinary build Hit is empty and
// costs nothing; a build with the tag "failpoints" obeys DISPATCHAI_FAILPOINT.
package failpoint

import (
	"os"
	"syscall"
)

// Hit kills the process with SIGKILL when DISPATCHAI_FAILPOINT names this
// place and the file DISPATCHAI_FAILPOINT_ARMED exists; the file is removed
// first, so that the restarted process passes.
func Hit(name string) {
	if os.Getenv("DISPATCHAI_FAILPOINT") != name {
		return
	}
	if os.Remove(os.Getenv("DISPATCHAI_FAILPOINT_ARMED")) != nil {
		return
	}
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {}
}
