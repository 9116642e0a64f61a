// Package python holds what a plugin in Python is built on: dispatchai.py, the SDK, and
// classifier.binpb, the description of the protocol that it reads.
package python

import "embed"

// Files are both, for a project to have them beside its own.
//
//go:embed dispatchai.py classifier.binpb
var Files embed.FS
