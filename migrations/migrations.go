// Package migrations carries the database schemas inside the binary. Each
// database has a folder of its own; a migration has the same number and name
// in all of them, and tables and columns have the same names. A released
// migration is never edited: what it did wrong is mended by the next one.
// Migrations only go up, because going down would throw data away.
package migrations

import (
	"embed"
	"io/fs"
)

//go:embed sqlite/*.sql
var files embed.FS

// SQLite returns the migrations for SQLite, named 00001_name.sql and so on, in
// goose's format.
func SQLite() (fs.FS, error) { return fs.Sub(files, "sqlite") }
