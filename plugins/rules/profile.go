package rules

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"sort"
	"sync"

	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// profile is what is made of a repository's options and settings.
type profile struct {
	options  *options
	settings *settings
	fault    error // of the settings
}

// maxProfiles bounds how many repositories are kept ready.
const maxProfiles = 1024

// profiles keeps the profiles of the repositories seen last, under all that
// they are made of: what changes is made anew, by itself.
type profiles struct {
	limit int

	mu     sync.Mutex
	byKey  map[[32]byte]*list.Element
	recent list.List // of *profileEntry, the latest first
}

type profileEntry struct {
	key     [32]byte
	profile *profile
}

// of gives the profile of a repository.
func (p *profiles) of(r *sdk.Repository, l *lexicon, b *background) *profile {
	key := keyOf(r)
	p.mu.Lock()
	if e, ok := p.byKey[key]; ok {
		p.recent.MoveToFront(e)
		p.mu.Unlock()
		return e.Value.(*profileEntry).profile
	}
	p.mu.Unlock()

	made := &profile{options: newOptions(r.Options, l, b)}
	if made.settings, made.fault = parseSettings(r.Settings); made.fault != nil {
		made.settings = &settings{}
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	if e, ok := p.byKey[key]; ok {
		return e.Value.(*profileEntry).profile
	}
	if p.byKey == nil {
		p.byKey = map[[32]byte]*list.Element{}
	}
	p.byKey[key] = p.recent.PushFront(&profileEntry{key: key, profile: made})
	for p.recent.Len() > p.limit {
		oldest := p.recent.Back()
		delete(p.byKey, oldest.Value.(*profileEntry).key)
		p.recent.Remove(oldest)
	}
	return made
}

// keyOf digests the options and settings of a repository. A cryptographic hash,
// because they are strangers' text and one's profile must not be another's.
func keyOf(r *sdk.Repository) [32]byte {
	fields := make([]string, 0, len(r.Options))
	for f := range r.Options {
		fields = append(fields, string(f))
	}
	sort.Strings(fields)
	buf := make([]byte, 0, 2048)
	put := func(s string) {
		buf = binary.AppendUvarint(buf, uint64(len(s)))
		buf = append(buf, s...)
	}
	for _, f := range fields {
		put(f)
		buf = binary.AppendUvarint(buf, uint64(len(r.Options[sdk.Field(f)])))
		for _, o := range r.Options[sdk.Field(f)] {
			put(o.Value)
			put(o.Label)
			put(o.Description)
		}
	}
	put(string(r.Settings))
	return sha256.Sum256(buf)
}
