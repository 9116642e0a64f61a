//go:build !unix

package plugin

import (
	"os"
	"syscall"
)

func processAttributes() *syscall.SysProcAttr { return nil }

// killGroup does nothing: there are no process groups here.
func killGroup(*os.Process) {}
