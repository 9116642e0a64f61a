//go:build unix && !linux

package plugin

import "syscall"

// processAttributes gives the plugin a process group, so that an interrupt at
// the terminal does not reach it before the host stops in order, and so that
// its own children can be ended with it.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
