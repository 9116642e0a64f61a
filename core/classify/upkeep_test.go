package classify_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dispatchai/dispatchai/core/classify"
	"github.com/dispatchai/dispatchai/core/plugin"
	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
)

// subjects are what the issues of these tests are about: each is opened several times.
var subjects = []string{
	"export to spreadsheet drops the last row", "login redirects forever with keycloak", "thumbnails of portrait photographs are rotated",
	"parser hangs on nested brackets", "invitation mails arrive garbled", "dark theme makes buttons invisible", "search ignores umlauts",
	"backup fails on network drives", "printing cuts off the margin", "tooltips flicker on hover",
}

const boilerplate = "\n\n### Steps to reproduce\n\nOpen the frobnicator panel and press the frobnicator button.\n\n### Expected behavior\n\nThe frobnicator works.\n"

// openAbout opens n issues, about the subjects in turn, and handles them.
func (f *fixture) openAbout(n int) {
	f.Helper()
	for i := range n {
		f.open(strings.ToUpper(subjects[i%len(subjects)][:1])+subjects[i%len(subjects)][1:], fmt.Sprintf("Since yesterday the %s.%s", subjects[i%len(subjects)], boilerplate))
	}
	f.ok(f.worker.HandleIssues(f.ctx, f.take()))
}

func (f *fixture) renew() {
	f.Helper()
	f.check(f.worker.RenewEmbeddings(f.ctx))
}

// spaces counts the repository's embeddings by space.
func (f *fixture) spaces() map[store.EmbeddingSpace]int {
	f.Helper()
	repositories, err := f.store.EmbeddedRepositories(f.ctx)
	f.check(err)
	if len(repositories) == 0 {
		return nil
	}
	if len(repositories) != 1 {
		f.Fatalf("%d repositories have embeddings", len(repositories))
	}
	return repositories[0].Issues
}

func (f *fixture) wantSpaces(when string, want map[store.EmbeddingSpace]int) {
	f.Helper()
	got := f.spaces()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		f.Errorf("%s the spaces are %v, want %v", when, got, want)
	}
}

// wantSimilar opens an issue about a subject and wants those about it, and no
// others, to be similar.
func (f *fixture) wantSimilar(when string, subject int) {
	f.Helper()
	f.published()
	f.open("Again: "+subjects[subject], "It is not fixed, the "+subjects[subject]+"."+boilerplate)
	f.ok(f.worker.HandleIssues(f.ctx, f.take()))
	results := f.published()
	if len(results) != 1 {
		f.Fatalf("%s: %d results", when, len(results))
	}
	similar := results[0].SimilarIssues
	if len(similar) != 5 {
		f.Errorf("%s: %d similar issues, want 5", when, len(similar))
	}
	for _, n := range similar {
		if !strings.Contains(strings.ToLower(n.Title), subjects[subject]) {
			f.Errorf("%s: %q is said to be like %q (%.2f)", when, n.Title, subjects[subject], n.Similarity)
		}
	}
}

const words = "words-v2/1536" // the rules plugin's space

func words0(issues int) map[store.EmbeddingSpace]int {
	return map[store.EmbeddingSpace]int{{Model: words}: issues}
}

func wordsAt(version int64, issues int) map[store.EmbeddingSpace]int {
	return map[store.EmbeddingSpace]int{{Model: words, Vocabulary: version}: issues}
}

func TestVocabularyGrowsWithItsRepository(t *testing.T) {
	f := newFixture(t)
	f.pass()
	f.openAbout(49)
	f.renew()
	f.wantSpaces("before there are enough,", words0(49))
	f.wantSimilar("before there are enough", 1) // makes fifty
	texts := len(f.rules.texts)
	f.renew()
	f.wantSpaces("at fifty", wordsAt(1, 50))
	f.renew()
	f.wantSpaces("again at fifty", wordsAt(1, 50))
	f.wantSimilar("weighted by the repository's own issues", 2)
	f.wantSpaces("with a new issue", wordsAt(1, 51))
	if got := len(f.rules.texts) - texts; got != 1 {
		t.Errorf("to weigh anew the plugin was asked about %d texts", got-1)
	}
	f.openAbout(49)
	f.renew()
	f.wantSpaces("at a hundred", wordsAt(2, 100))
	f.wantSimilar("at a hundred", 3)
	if got := f.counter("dispatchai_classify_vocabularies_total"); got != 2 {
		t.Errorf("%v vocabularies were counted, want 2", got)
	}
	if got := f.counter("dispatchai_classify_embeddings_renewed_total"); got != 150 {
		t.Errorf("%v embeddings were renewed, want 150", got)
	}
	if got := f.gauge("dispatchai_classify_embeddings_stale"); got != 0 {
		t.Errorf("%v embeddings are said to be stale", got)
	}
}

// stalled is a store in which renewal stops after so many batches, as when the
// process is killed there.
type stalled struct {
	store.Store
	batches int
}

var errKilled = errors.New("killed")

func (s *stalled) ReplaceEmbeddings(ctx context.Context, r []store.EmbeddingReplacement) (int, error) {
	if s.batches--; s.batches < 0 {
		return 0, errKilled
	}
	return s.Store.ReplaceEmbeddings(ctx, r)
}

func TestNeighboursStayRightWhileEmbeddingsAreRenewed(t *testing.T) {
	var held *stalled
	f := newFixture(t, func(c *classify.Config) {
		held = &stalled{Store: c.Store.(store.Store), batches: 1}
		c.Store = held
	})
	f.pass()
	f.openAbout(150)
	if err := f.worker.RenewEmbeddings(f.ctx); !errors.Is(err, errKilled) {
		t.Fatalf("the renewal ended with %v", err)
	}
	half := map[store.EmbeddingSpace]int{{Model: words}: 86, {Model: words, Vocabulary: 1}: 64}
	f.wantSpaces("when it was killed,", half)
	if got := f.gauge("dispatchai_classify_embeddings_stale"); got != 86 {
		t.Errorf("%v embeddings are said to be stale, want 86", got)
	}
	for subject := range subjects {
		f.wantSimilar("halfway", subject)
	}
	held.batches = 1000
	f.renew()
	f.wantSpaces("after it was resumed,", wordsAt(1, 160))
	f.wantSimilar("when all were renewed", 4)
}

func TestAnotherEmbedderRenewsEverything(t *testing.T) {
	f := newFixture(t)
	f.pass()
	f.rules.embedding = &sdk.EmbeddingModel{Name: "hash-1024-v1", Dimensions: len(subjects) + 1}
	f.rules.vector = func(text sdk.Text) []float32 {
		v := make([]float32, len(subjects)+1)
		for i, subject := range subjects {
			if strings.Contains(strings.ToLower(text.Title), subject) {
				v[i] = 1
			}
		}
		return v
	}
	f.openAbout(60)
	f.wantSpaces("with vectors,", map[store.EmbeddingSpace]int{{Model: "hash-1024-v1"}: 60})
	f.wantSimilar("with vectors", 5)

	// The present one, over a data directory of the former: to terms, counted and weighted at once.
	dense := f.rules.embedding
	f.rules.embedding = nil
	texts := len(f.rules.texts)
	f.renew()
	f.wantSpaces("with terms,", wordsAt(1, 61))
	if got := len(f.rules.texts) - texts; got != 61 {
		t.Errorf("%d texts were embedded anew, want 61", got)
	}
	f.wantSimilar("with terms", 6)

	// And to vectors, of which none can be made of one issue.
	former := f.rules.vector
	f.rules.embedding, f.rules.vector = dense, func(text sdk.Text) []float32 {
		if strings.HasSuffix(text.Title, subjects[6]) && strings.HasPrefix(text.Title, "Again") {
			return nil
		}
		return former(text)
	}
	f.renew()
	f.wantSpaces("with vectors again,", map[store.EmbeddingSpace]int{{Model: "hash-1024-v1"}: 61})
	f.wantSimilar("with vectors again", 7)
}

func TestOneBatchThatFailsHoldsUpNoOther(t *testing.T) {
	f := newFixture(t)
	f.pass()
	f.openAbout(130)
	f.rules.embedding = &sdk.EmbeddingModel{Name: "other", Dimensions: 1}
	f.rules.vector = func(sdk.Text) []float32 { return []float32{1} }
	calls := 0
	f.rules.failEmbed = func([]sdk.Text) error {
		if calls++; calls == 1 {
			return &plugin.CallError{Plugin: "rules", Method: "Embed", How: plugin.Crashed, Err: errors.New("gone")}
		}
		return nil
	}
	if err := f.worker.RenewEmbeddings(f.ctx); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("the failure is told as %v", err)
	}
	f.wantSpaces("after one failed batch", map[store.EmbeddingSpace]int{{Model: "other"}: 114, {Model: words}: 16})
	f.rules.failEmbed = func([]sdk.Text) error { return &plugin.UnavailableError{Plugin: "rules", RetryAfter: time.Second} }
	if err := f.worker.RenewEmbeddings(f.ctx); err == nil {
		t.Error("a plugin that is away was not told of")
	}
	f.rules.failEmbed = nil
	f.renew()
	f.wantSpaces("after the next pass", map[store.EmbeddingSpace]int{{Model: "other"}: 130})
}

// meddling is a store that lets something happen before each replacement.
type meddling struct {
	store.Store
	before func()
}

func (m *meddling) ReplaceEmbeddings(ctx context.Context, r []store.EmbeddingReplacement) (int, error) {
	m.before()
	return m.Store.ReplaceEmbeddings(ctx, r)
}

// TestTwoProcessesRenew: another one renews, edits and deletes in between.
func TestTwoProcessesRenew(t *testing.T) {
	var between *meddling
	f := newFixture(t, func(c *classify.Config) {
		between = &meddling{Store: c.Store.(store.Store)}
		c.Store = between
	})
	f.pass()
	between.before = func() {}
	f.openAbout(70)
	other, err := classify.New(classify.Config{Store: f.store, Publisher: f.log, GitHub: f.client, Classifiers: []classify.Classifier{f.rules}, Logger: f.worker.Logger, Registerer: prometheus.NewRegistry()})
	f.check(err)
	first := true
	between.before = func() {
		if !first {
			return
		}
		first = false
		f.check(f.github.EditIssue(f.ctx, repo, 2, "reporter", new("Something else entirely"), new("About quokkas.")))
		f.check(f.github.DeleteIssue(f.ctx, repo, 3, admin))
		f.ok(other.HandleIssues(f.ctx, f.take()))
		f.check(other.RenewEmbeddings(f.ctx))
	}
	f.renew()
	f.wantSpaces("after two had renewed", wordsAt(1, 69))
	found, err := f.store.EmbeddedIssues(f.ctx, store.EmbeddedQuery{RepositoryID: f.key(1).RepositoryID, Space: store.EmbeddingSpace{Model: words, Vocabulary: 1}, Limit: 3})
	f.check(err)
	if len(found) != 3 || found[1].Number != 2 || found[2].Number != 4 || found[1].Terms.Len() > 6 {
		t.Errorf("the edited and the deleted issue are embedded as %v", found)
	}
}

func TestSuspendedRepositoriesAreLeftAlone(t *testing.T) {
	f := newFixture(t)
	f.pass()
	f.openAbout(50)
	id := f.key(1).RepositoryID
	states, err := f.store.LoadRepositories(f.ctx, []int64{id})
	f.check(err)
	f.check(f.store.ApplyInstallation(f.ctx, store.InstallationChange{EventID: "suspended", At: time.Now(), Installation: &triage.Installation{
		ID: states[id].Repository.InstallationID, Account: org, Suspended: true, UpdatedAt: time.Now(),
	}}))
	f.renew()
	if got := f.counter("dispatchai_classify_vocabularies_total"); got != 0 {
		t.Error("a vocabulary was counted for a suspended installation")
	}
}

// TestKeepEmbeddings: growth is noticed without waiting for the next look at
// everything, and the upkeep ends when it is told to.
func TestKeepEmbeddings(t *testing.T) {
	f := newFixture(t)
	f.pass()
	ctx, stop := context.WithCancel(f.ctx)
	ended := make(chan error, 1)
	go func() { ended <- f.worker.KeepEmbeddings(ctx) }()
	f.openAbout(60)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for fmt.Sprint(f.spaces()) != fmt.Sprint(wordsAt(1, 60)) {
		select {
		case <-look.C:
		case <-f.ctx.Done():
			t.Fatalf("the spaces are %v", f.spaces())
		}
	}
	stop()
	select {
	case err := <-ended:
		f.check(err)
	case <-time.After(10 * time.Second):
		t.Fatal("the upkeep does not end")
	}
}
