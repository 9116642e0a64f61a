// Package control holds what operators tell running processes and what these
// tell of themselves: the records of the compacted topics control and status.
// It knows their keys and values, not the log that carries them.
//
// Values are JSON. A reader takes what it knows from a value and leaves the
// rest, so that processes of different versions understand each other.
package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// pluginPrefix begins the keys on control that speak of plugins.
const pluginPrefix = "plugin/"

var pluginName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// PluginKey is the key on control under which a plugin is switched on and off.
func PluginKey(name string) string { return pluginPrefix + name }

// PluginOfKey gives the plugin that a key on control speaks of.
func PluginOfKey(key string) (name string, ok bool) {
	name, ok = strings.CutPrefix(key, pluginPrefix)
	return name, ok && pluginName.MatchString(name)
}

// PluginSwitch is what an operator last decided on a plugin. A plugin without
// one is enabled.
type PluginSwitch struct {
	Enabled bool `json:"enabled"`
	// By is who decided it, for people to ask, and At when.
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// Encode gives the value on control.
func (s PluginSwitch) Encode() ([]byte, error) { return encode(s) }

// ParsePluginSwitch reads a value on control.
func ParsePluginSwitch(value []byte) (PluginSwitch, error) {
	var s struct {
		PluginSwitch
		Enabled *bool `json:"enabled"`
	}
	if err := json.Unmarshal(value, &s); err != nil {
		return PluginSwitch{}, fmt.Errorf("not a plugin's switch: %w", err)
	}
	if s.Enabled == nil {
		return PluginSwitch{}, errors.New(`not a plugin's switch: it lacks "enabled"`)
	}
	s.PluginSwitch.Enabled = *s.Enabled
	s.By = bounded(s.By, maxText)
	return s.PluginSwitch, nil
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// bounded cuts a text between characters and leaves no control characters in
// it, which JSON would write six times as long.
func bounded(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) <= most {
		return s
	}
	const mark = "…"
	n := most - len(mark)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + mark
}
