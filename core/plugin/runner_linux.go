package plugin

import "syscall"

// processAttributes gives the plugin a process group, so that an interrupt at
// the terminal does not reach it before the host stops in order, and so that
// its own children can be ended with it. The kernel kills it when the host's
// thread that started it ends, whatever language it is written in.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
