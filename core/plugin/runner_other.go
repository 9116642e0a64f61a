//go:build !unix

package plugin

import "os"

// killGroup does nothing: there are no process groups here.
func killGroup(*os.Process) {}
