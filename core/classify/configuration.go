package classify

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/dispatchai/dispatchai/core/eventlog"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// organisationRepository is the name of the repository whose configuration all
// others of the same owner inherit.
const organisationRepository = ".github"

// configurationMark says whose files an event makes due to be read again.
// Nothing is fetched here: the lane of an installation waits for nobody.
func configurationMark(e triage.Event) store.ConfigurationMark {
	m := store.ConfigurationMark{InstallationID: e.InstallationID}
	switch e.Kind {
	case triage.KindInstallation:
		if e.Action == "deleted" || e.Action == "suspend" {
			return store.ConfigurationMark{}
		}
		// Nobody told the app of pushes before, or while it was suspended.
		m.All, m.Because, m.Forget = true, store.DueNew, true
		if e.Action == "new_permissions_accepted" {
			m.Because, m.Forget = store.DuePermissions, false
		}
	case triage.KindInstallationRepositories:
		m.Because, m.Forget = store.DueNew, true
		for _, r := range e.Added {
			m.RepositoryIDs = append(m.RepositoryIDs, r.ID)
		}
	case triage.KindRepository:
		if e.Action == "deleted" {
			return store.ConfigurationMark{}
		}
		m.Because, m.RepositoryIDs = store.DueRepository, []int64{e.Repository.ID}
	case triage.KindPush:
		if !e.TouchesConfig {
			return store.ConfigurationMark{}
		}
		m.Because, m.RepositoryIDs = store.DuePush, []int64{e.Repository.ID}
		if strings.EqualFold(e.Repository.Name(), organisationRepository) {
			m.Because, m.Owner = store.DueOwner, e.Repository.Owner()
		}
	}
	return m
}

// rulesPlugin is the plugin that a repository's own rules are for.
const rulesPlugin = "rules"

// configurationAgain is how soon an event that waits for its repository's
// configuration looks for it again.
const configurationAgain = time.Second

var errUnconfigured = eventlog.RetryAfter(configurationAgain, errors.New("the repository's configuration is being read for the first time"))

// config is what the event's repository wants; the defaults for an event that
// needs no taxonomy.
func (k *work) config() triage.RepositoryConfig {
	if k.catalogue == nil {
		return triage.DefaultRepositoryConfig()
	}
	return k.catalogue.configuration.Config
}

// loadPolicies gives works their repositories' policies without the taxonomies,
// which most events bring them along with.
func (w *Worker) loadPolicies(ctx context.Context, works []*work) {
	var ids []int64
	for _, k := range works {
		if k.err == nil {
			ids = append(ids, k.key.RepositoryID)
		}
	}
	if len(ids) == 0 {
		return
	}
	slices.Sort(ids)
	states, err := w.Store.LoadRepositories(ctx, slices.Compact(ids))
	if err != nil {
		failAll(works, storeDown(err))
		return
	}
	for _, k := range works {
		if k.err == nil {
			k.policy = w.policy(k.key.RepositoryID, states[k.key.RepositoryID].InForce().Config)
		}
	}
}

// policy is what has the repository's issues looked at again: what its own file
// and the server both want. Where the file asks for nothing, the server's
// request for answers holds.
func (w *Worker) policy(repositoryID int64, config triage.RepositoryConfig) triage.RetriagePolicy {
	p, server := config.RetriagePolicy(), w.Policy(repositoryID)
	p.Edit, p.Reopen, p.Comment, p.Commands = p.Edit && server.Edit, p.Reopen && server.Reopen, p.Comment && server.Comment, p.Commands && server.Commands
	if p.NeedsInfoLabel = server.NeedsInfoLabel; !p.NeedsInfo.Ask && config.Mode == triage.ModeApply {
		p.NeedsInfo = server.NeedsInfo
	}
	return p
}

// configured decides whether an issue that is to be classified is to be left
// alone as its repository wants, or has to wait until that is known. People who
// ask for a classification get one.
//
// Who waits in vain is classified by the defaults all the same: people see it on
// the dashboard, and the label worker writes nothing before the files were read.
func (w *Worker) configured(k *work) error {
	if k.catalogue.configuration.Version == 0 && k.event.InstallationID != 0 && w.waits(k.key.RepositoryID) {
		return errUnconfigured
	}
	if _, skip := k.config().Skips(k.current()); skip && k.event.Kind != triage.KindReclassify {
		k.classify = false
	}
	return nil
}

// waits tells whether the first reading of the repository's files is still
// worth waiting for.
func (w *Worker) waits(repositoryID int64) bool {
	if w.ConfigurationWait <= 0 {
		return false
	}
	now := w.Now()
	since, waiting, _ := w.waiting.PeekOrAdd(repositoryID, now)
	return !waiting || now.Sub(since) < w.ConfigurationWait
}

// followed is the configuration as this server can follow it: where none of the
// classifiers that it names runs here, it speaks of another server, and counts
// as one that leaves the choice to the server.
func (w *Worker) followed(config triage.RepositoryConfig) triage.RepositoryConfig {
	for _, choice := range config.Classifiers {
		if slices.ContainsFunc(w.Classifiers, func(c Classifier) bool { return c.Name() == choice.Name }) {
			return config
		}
	}
	config.Classifiers = nil
	return config
}

// chain are the classifiers to ask about an issue: the repository's, in its
// order, or else the server's without its challenger; of both those that are enabled.
func (w *Worker) chain(config triage.RepositoryConfig, enabled []Classifier) []Classifier {
	if len(config.Classifiers) == 0 {
		return slices.DeleteFunc(slices.Clone(enabled), func(c Classifier) bool { return c.Name() == w.Challenger })
	}
	named := make([]Classifier, 0, len(config.Classifiers))
	for _, choice := range config.Classifiers {
		if i := slices.IndexFunc(enabled, func(c Classifier) bool { return c.Name() == choice.Name }); i >= 0 {
			named = append(named, enabled[i])
		}
	}
	return named
}

// withRules is the repository with its own rules.
func withRules(r *sdk.Repository, config triage.RepositoryConfig) *sdk.Repository {
	settings, err := config.RuleSettings()
	if err != nil || settings == nil {
		return r // a rule that cannot be written was refused when the file was read
	}
	ruled := *r
	ruled.Settings = settings
	return &ruled
}
