package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/core/store/sqlite"
)

func migrateCommand() *cobra.Command {
	flags := &optionFlags{}
	var asJSON bool
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database schema up to date",
		Long:  "Applies what migrations are missing and reports the schema's version. The service does the same when it starts.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			options, err := flags.read(c)
			if err != nil {
				return err
			}
			s, err := sqlite.Open(c.Context(), sqlite.Options{Path: filepath.Join(options.DataDir, databaseFile), Logger: newLogger(c.ErrOrStderr(), slogWarn)})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			v := s.SchemaVersion()
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]int64{"schema_version": v})
			}
			fmt.Fprintf(c.OutOrStdout(), "The schema is at version %d.\n", v)
			return nil
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
