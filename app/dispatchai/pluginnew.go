package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/plugins/scaffold"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

func pluginNewCommand() *cobra.Command {
	var p scaffold.Project
	var asJSON bool
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Write the project that a classifier plugin of your own begins as",
		Long: "Writes a plugin that works, in Go, with its test, its manifest and a README that says what to do next, into a\n" +
			"directory of the plugin's name. Nothing that exists is changed.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p.Name = args[0]
			if err := (sdk.Description{Name: p.Name, Version: "1.0.0"}).Validate(); err != nil {
				return err
			}
			if p.Dir == "" {
				p.Dir = p.Name
			}
			if err := sdkVersion(&p); err != nil {
				return err
			}
			files, err := scaffold.Write(p)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(struct {
					Name  string   `json:"name"`
					Dir   string   `json:"dir"`
					Files []string `json:"files"`
				}{p.Name, p.Dir, files})
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "Wrote %s into %s. Now:\n\n  cd %s\n  go mod tidy\n  go test ./...\n  go build\n  dispatchai demo --plugin %s=./%s\n",
				strings.Join(files, ", "), p.Dir, p.Dir, p.Name, p.Name)
			return err
		},
	}
	c.Flags().StringVar(&p.Dir, "dir", "", "directory to write to (default: the plugin's name)")
	c.Flags().StringVar(&p.SDKDir, "sdk-dir", "", "checkout of DispatchAI to build on, instead of the version of this binary")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// sdkVersion says which SDK the project builds on: that of this binary's version,
// or a checkout.
func sdkVersion(p *scaffold.Project) (err error) {
	if p.SDKDir == "" {
		p.Version = version()
		if !strings.HasPrefix(p.Version, "v") || strings.Contains(p.Version, "+") {
			return errors.New("this binary was built from a checkout, which has no version to build on: name the checkout with --sdk-dir")
		}
		return nil
	}
	p.Version = "v0.0.0"
	if p.SDKDir, err = filepath.Abs(p.SDKDir); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(p.SDKDir, "plugins", "sdk", "doc.go")); err != nil {
		return fmt.Errorf("--sdk-dir: %s is not a checkout of DispatchAI: it lacks plugins/sdk", p.SDKDir)
	}
	return nil
}
