// Package web holds the built dashboard, so that the binary serves it without
// Node or a file system.
package web

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Dist returns the built dashboard with index.html at its root.
//
// Files below assets/ carry a hash of their content in their names and may be
// cached for ever; everything else must be revalidated. Paths that are no file
// belong to the page's own router and are answered with index.html.
//
// The page runs under the content security policy
//
//	default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'
//
// and asks nothing of any other host.
func Dist() fs.FS {
	sub, err := fs.Sub(dist, "dist")
	if err != nil {
		// Sub fails only for an invalid path, and this one is a constant.
		panic(err)
	}
	return sub
}
