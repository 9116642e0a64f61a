//go:build unix

package plugin

import (
	"os"
	"syscall"
)

// killGroup kills what is left of a process's group.
func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
