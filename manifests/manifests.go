// Package manifests carries inside the binary what describes DispatchAI to the
// systems around it.
package manifests

import (
	_ "embed"
	"slices"
)

//go:embed github-app.json
var gitHubApp []byte

// GitHubApp returns the manifest that a GitHub App is registered from: the
// permissions and events that DispatchAI needs, each justified in
// docs/permissions.md, with placeholders for the name and the URLs.
func GitHubApp() []byte { return slices.Clone(gitHubApp) }

//go:embed plugin.schema.json
var plugin []byte

// PluginSchema returns the JSON Schema of a classifier plugin's manifest.
func PluginSchema() []byte { return slices.Clone(plugin) }
