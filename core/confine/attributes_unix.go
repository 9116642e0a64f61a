//go:build unix && !linux

package confine

import "syscall"

// attributes put the process into a group of its own, so that an interrupt at the
// terminal does not reach it.
func attributes(Strength, int) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
