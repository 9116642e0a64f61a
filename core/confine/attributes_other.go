//go:build !unix

package confine

import "syscall"

func attributes(Strength, int) *syscall.SysProcAttr { return nil }
