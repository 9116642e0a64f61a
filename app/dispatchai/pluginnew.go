package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/plugins/scaffold"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

func pluginNewCommand() *cobra.Command {
	var p scaffold.Project
	var asJSON bool
	var language string
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Write the project that a classifier plugin of your own begins as",
		Long: "Writes a plugin that works, in Go or Python, with its test, its manifest and a README that says what to do next, into a\n" +
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
			p.Language = scaffold.Language(language)
			switch {
			case !slices.Contains(scaffold.Languages(), p.Language):
				return fmt.Errorf("--lang: %q is none of go and python", clean(language, 40))
			case p.Language == scaffold.Python && p.SDKDir != "":
				return errors.New("--sdk-dir is for Go; a project in Python brings its SDK along")
			case p.Language == scaffold.Go:
				if err := sdkVersion(&p); err != nil {
					return err
				}
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
			next := []string{"cd " + p.Dir, "go mod tidy", "go test ./...", "go build"}
			if p.Language == scaffold.Python {
				next = []string{"cd " + p.Dir, "python3 -m venv .venv", ".venv/bin/pip install -r requirements.txt", ".venv/bin/python -m unittest"}
			}
			next = append(next, fmt.Sprintf("dispatchai demo --plugin %s=./%s", p.Name, p.Name))
			_, err = fmt.Fprintf(c.OutOrStdout(), "Wrote %s into %s. Now:\n\n  %s\n", strings.Join(files, ", "), p.Dir, strings.Join(next, "\n  "))
			return err
		},
	}
	c.Flags().StringVar(&language, "lang", string(scaffold.Go), "what it is written in: go or python")
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
