//go:build !linux

package confine

// Probe tells that nothing is enforced here but what the host sees to itself.
func Probe() Strength { return Strength{} }

// Enter becomes the program where the process was started to be confined;
// otherwise it returns at once. It is the first thing that main does.
func Enter() {}

func give(string, int) error { return nil }
