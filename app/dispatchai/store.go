package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/app"
	"github.com/dispatchai/dispatchai/core/store/sqlite"
)

// openStore opens the service's database beside it.
func openStore(c *cobra.Command, flags *optionFlags) (app.Options, *sqlite.Store, error) {
	options, err := flags.read(c)
	if err != nil {
		return options, nil, err
	}
	path := filepath.Join(options.DataDir, databaseFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return options, nil, fmt.Errorf("there is no database in %s; name the service's data directory with --data-dir or DISPATCHAI_DATA_DIR", options.DataDir)
	}
	s, err := sqlite.Open(c.Context(), sqlite.Options{Path: path, Logger: newLogger(c.ErrOrStderr(), slogWarn)})
	return options, s, err
}

// repositoryNames gives the full names of all repositories, and which of them --repo
// names; 0 when it names none.
func repositoryNames(c *cobra.Command, s *sqlite.Store, wanted string) (names map[int64]string, id int64, err error) {
	repositories, err := s.ListRepositories(c.Context())
	if err != nil {
		return nil, 0, err
	}
	names = make(map[int64]string, len(repositories))
	for _, r := range repositories {
		names[r.Repository.ID] = r.Repository.FullName
		if strings.EqualFold(r.Repository.FullName, wanted) {
			id = r.Repository.ID
		}
	}
	if wanted != "" && id == 0 {
		return nil, 0, fmt.Errorf("--repo: %s is not known here; write it as owner/name", clean(wanted, 80))
	}
	return names, id, nil
}
