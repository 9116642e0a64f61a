package sqlite

import (
	"encoding/binary"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/dispatchai/dispatchai/core/store"
	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/migrations"
)

// TestVectorsOfTheFormerSchema: a file from before terms opens, its vectors are
// found as they were, and can be replaced.
func TestVectorsOfTheFormerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	db, err := openDB(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	files, err := migrations.SQLite()
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	statements := fmt.Sprintf("PRAGMA application_id = %d;", applicationID) +
		`INSERT INTO repositories (id, installation_id, full_name, private, removed, described_at, membership_at) VALUES (1, 1, 'acme/one', 0, 0, 0, 0);`
	for number := 1; number <= 3; number++ {
		vector := make([]byte, 4*1024)
		binary.LittleEndian.PutUint32(vector[4*7:], math.Float32bits(1))
		binary.LittleEndian.PutUint32(vector[4*1023:], math.Float32bits(float32(number)))
		statements += fmt.Sprintf(`INSERT INTO issues (id, repository_id, number, github_id, title, state, author_login, author_type, author_association,
				labels, url, created_at, updated_at, deleted, revision, received_at, log_partition, log_offset, text_hash, status, category, priority, component, corrections, body)
			VALUES (%[1]d, 1, %[1]d, %[1]d, 'Title', 'open', '', '', '', '[]', '', 0, 0, 0, 1, 0, 0, 0, 'hash', 'classified', '', '', '', 0, 'Body');
			INSERT INTO issue_embeddings (issue_id, repository_id, number, model, norm, vector) VALUES (%[1]d, 1, %[1]d, 'hash-1024-v1', %[2]v, x'%[3]x');`,
			number, math.Sqrt(1+float64(number*number)), vector)
	}
	execAndClose(t, db, statements)

	s := openStore(t, Options{Path: path})
	ask := func(model string) (numbers []int) {
		t.Helper()
		found, err := s.Neighbours(t.Context(), []store.NeighbourQuery{{RepositoryID: 1, Limit: 9, Embedding: store.Embedding{Model: model, Vector: []float32{7: 1}}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range found[0] {
			numbers = append(numbers, n.Number)
		}
		return numbers
	}
	if got := ask("hash-1024-v1"); !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("found %v", got)
	}
	old := store.EmbeddingSpace{Model: "hash-1024-v1"}
	issues, err := s.EmbeddedIssues(t.Context(), store.EmbeddedQuery{RepositoryID: 1, Space: old, Limit: 9, Texts: true})
	if err != nil || len(issues) != 3 || issues[1].Number != 2 || issues[1].Terms.Len() != 0 || issues[1].Title != "Title" || issues[1].Body != "Body" {
		t.Fatalf("%+v, %v", issues, err)
	}
	n, err := s.ReplaceEmbeddings(t.Context(), []store.EmbeddingReplacement{{
		Issue: triage.IssueKey{RepositoryID: 1, Number: 2}, From: old, TextHash: "hash",
		Embedding: &store.Embedding{Model: "words/1536", Vector: []float32{7: 1}, Terms: store.PackTerms([]store.Term{{ID: 1, Weight: 1}})},
	}})
	if err != nil || n != 1 {
		t.Fatal(n, err)
	}
	if got := ask("hash-1024-v1"); !slices.Equal(got, []int{1, 3}) {
		t.Errorf("found %v under the former model", got)
	}
	if got := ask("words/1536"); !slices.Equal(got, []int{2}) {
		t.Errorf("found %v under the new one", got)
	}
}
