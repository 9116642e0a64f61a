//go:build !failpoints

// Package failpoint lets a test kill the process at a named place, to show
// that nothing durable is lost there. In an ordinary build Hit is empty and
// costs nothing; a build with the tag "failpoints" obeys DISPATCHAI_FAILPOINT.
package failpoint

// Hit marks a place where a crash must do no harm.
func Hit(string) {}
