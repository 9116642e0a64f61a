package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// revisionPrefix begins the keys on control that speak of what plugins are run by.
const revisionPrefix = "plugin-revision/"

// RevisionKey is the key on control under which a plugin is upgraded, rolled back
// and reloaded.
func RevisionKey(name string) string { return revisionPrefix + name }

// RevisionOfKey gives the plugin that a key on control speaks of.
func RevisionOfKey(key string) (name string, ok bool) {
	name, ok = strings.CutPrefix(key, revisionPrefix)
	return name, ok && pluginName.MatchString(name)
}

// MaxPath bounds what a plugin is run by, in bytes.
const MaxPath = 512

// PluginRevision is what an operator last had a plugin run by. A plugin without one is
// run as the configuration says.
type PluginRevision struct {
	// Number grows with every revision of the plugin.
	Number int64 `json:"number"`
	// Source is the path of the executable or of the manifest; empty for what the
	// configuration names. Previous is the one before, to go back to.
	Source   string `json:"source"`
	Previous string `json:"previous"`
	// Configured is what the configuration named when this was decided. Where it
	// names something else by now, the configuration counts.
	Configured string    `json:"configured"`
	By         string    `json:"by"`
	At         time.Time `json:"at"`
}

// Encode gives the value on control.
func (r PluginRevision) Encode() ([]byte, error) { return encode(r) }

// ParsePluginRevision reads a value on control.
func ParsePluginRevision(value []byte) (PluginRevision, error) {
	var r PluginRevision
	if err := json.Unmarshal(value, &r); err != nil {
		return PluginRevision{}, fmt.Errorf("not a plugin's revision: %w", err)
	}
	switch {
	case r.Number < 1:
		return PluginRevision{}, errors.New(`not a plugin's revision: its "number" is missing`)
	case len(r.Source) > MaxPath || len(r.Previous) > MaxPath || len(r.Configured) > MaxPath:
		return PluginRevision{}, errors.New("not a plugin's revision: a path is longer than 512 bytes")
	}
	r.By = bounded(r.By, maxText)
	return r, nil
}
