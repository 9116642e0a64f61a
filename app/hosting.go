package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/confine"
	"github.com/dispatchai/dispatchai/core/plugin"
)

// How far plugins must be confined.
const (
	// ConfineAuto: as far as the system allows.
	ConfineAuto = "auto"
	// ConfineRequired: not at all if not with a network and processes of their own.
	ConfineRequired = "required"
	// ConfineOff: they keep the rights of the service, but for its environment.
	ConfineOff = "off"
)

// hosting is how this process runs plugins, on a system that can enforce strength.
func (o Options) hosting(strength confine.Strength, logger *slog.Logger, r prometheus.Registerer) (plugin.Options, error) {
	switch {
	case o.PluginConfinement == ConfineOff:
		logger.Warn("plugins are not confined: they may use the network and read what this user may", "setting", "DISPATCHAI_PLUGIN_CONFINEMENT=off")
		strength = confine.Strength{}
	case strength.Namespaces && strength.Limits:
		logger.Info("plugins are confined", "with", strength.String())
	case o.PluginConfinement == ConfineRequired:
		return plugin.Options{}, fmt.Errorf("DISPATCHAI_PLUGIN_CONFINEMENT: it is required, but here plugins get only %s; "+
			"run the service on Linux as root, or where users may make namespaces (sysctl kernel.unprivileged_userns_clone, "+
			"kernel.apparmor_restrict_unprivileged_userns; in a container: its seccomp profile), or set it to auto", strength)
	default:
		logger.Warn("plugins are not fully confined here; run only those that you trust", "with", strength.String())
	}
	return plugin.Options{
		Logger: logger, Registerer: r, CallTimeout: o.PluginTimeout,
		Confinement: strength, Hidden: o.hidden(), MemoryBytes: o.PluginMemoryMB << 20,
	}, nil
}

// hidden is what no plugin may see.
func (o Options) hidden() []string {
	var paths []string
	for _, path := range []string{o.DataDir, o.PrivateKeyFile, o.PluginSettingsDir} {
		if path == "" {
			continue
		}
		if abs, err := filepath.Abs(path); err == nil {
			paths = append(paths, abs)
		}
	}
	return paths
}

// pluginSpec says how to run a plugin that the options name.
func pluginSpec(choice pluginChoice, b Backends) (plugin.Spec, error) {
	if choice.manifest != nil {
		return *choice.manifest, nil
	}
	if choice.path == "" && choice.reattach == "" {
		spec, err := b.BuiltIn(choice.name, choice.settings)
		if err != nil {
			return spec, fmt.Errorf("DISPATCHAI_PLUGINS: %w", err)
		}
		return spec, nil
	}
	return plugin.Spec{Name: choice.name, Path: choice.path, Reattach: choice.reattach, Settings: choice.settings}, nil
}

// openAI is the built-in classifier that the variables OPENAI_API_KEY and
// OPENAI_BASE_URL are for.
const openAI = "openai"

// openAISettings puts what the environment says of OpenAI into the settings of the
// classifier, where its file does not say otherwise.
func (o *Options) openAISettings(settings []byte) ([]byte, error) {
	values := make(map[string]any)
	if len(settings) > 0 {
		if err := json.Unmarshal(settings, &values); err != nil {
			return nil, fmt.Errorf("the settings must be a JSON object: %w", err)
		}
	}
	for key, value := range map[string]string{"api_key": o.OpenAIKey, "base_url": o.OpenAIBaseURL} {
		if _, set := values[key]; !set && value != "" {
			values[key] = value
		}
	}
	if values["api_key"] == nil && values["base_url"] == nil {
		return nil, errors.New("not set, but DISPATCHAI_PLUGINS names openai (create one at https://platform.openai.com/api-keys; a server of your own, named by OPENAI_BASE_URL, may need none)")
	}
	return json.Marshal(values)
}

// hasManifest tells whether a path names a plugin with a manifest rather than an
// executable: the manifest, or the directory that it is in.
func hasManifest(path string) bool {
	if path == "" {
		return false
	}
	info, err := os.Stat(path)
	return filepath.Ext(path) == ".json" || err == nil && info.IsDir()
}

// manifestSpec says how to run a plugin with a manifest.
func manifestSpec(choice pluginChoice) (plugin.Spec, error) {
	m, err := plugin.ReadManifest(choice.path)
	if err != nil {
		return plugin.Spec{}, err
	}
	return m.Spec(choice.name, choice.settings)
}
