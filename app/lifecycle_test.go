package app_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/app/simulate"
)

// installed is a repository of another owner with the App on it.
type installed struct {
	repository       string
	id, installation int64
	secret           string // stands in its only issue
	issue            int
}

// installAnother installs the App on another owner's repository, which has one
// issue that is classified and labelled.
func (s *system) installAnother(owner, name string) installed {
	s.t.Helper()
	ctx := testContext(s.t)
	n := installed{repository: owner + "/" + name, secret: "xylophonequartz"}
	if err := s.github.CreateRepository(ctx, simulate.NewRepository{Owner: owner, Name: name, Labels: testLabels(), Roles: map[string]simulate.Role{"maia": simulate.RoleAdmin}}); err != nil {
		s.t.Fatal(err)
	}
	var err error
	if n.installation, err = s.github.Install(ctx, owner, simulate.InstallOptions{}); err != nil {
		s.t.Fatal(err)
	}
	if n.id, err = s.github.RepositoryID(n.repository); err != nil {
		s.t.Fatal(err)
	}
	report := bugReport(900)
	report.Body += "\n" + n.secret
	if n.issue, err = s.github.OpenIssue(ctx, n.repository, report); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.github.WaitFor(ctx, n.repository, n.issue, func(i simulate.Issue) bool { return hasLabel(i, "kind/bug") }); err != nil {
		s.dump()
		s.t.Fatalf("the issue of %s was not labelled: %v", n.repository, err)
	}
	return n
}

type erasure struct {
	Subject, Name, Because string
	RepositoryID           int64     `json:"repository_id"`
	RemovedAt              time.Time `json:"removed_at"`
	DueAt                  time.Time `json:"due_at"`
}

// erasureLog is what "dispatchai erasures --json" prints.
type erasureLog struct {
	Pending []erasure
	Log     []struct {
		Subject, Because, Outcome string
		RepositoryID              int64 `json:"repository_id"`
		InstallationID            int64 `json:"installation_id"`
		Number                    int
		Rows                      map[string]int64
	}
	Forgets []struct{ Plugin string } `json:"plugins_to_tell"`
}

func (s *system) erasures() erasureLog {
	s.t.Helper()
	out, err := s.run("erasures", "--json")
	if err != nil {
		s.t.Fatal(err)
	}
	var log erasureLog
	if err := json.Unmarshal([]byte(out), &log); err != nil {
		s.t.Fatalf("%v in %s", err, out)
	}
	return log
}

// waitErased waits until the log says that the repository and its installation
// are erased, each once, and every plugin was told.
func (s *system) waitErased(n installed) {
	s.t.Helper()
	eventually(s.t, "the repository and its installation are erased", func() bool {
		log := s.erasures()
		repositories, installations := 0, 0
		for _, e := range log.Log {
			switch {
			case e.Outcome != "erased" || e.Because != "uninstalled":
			case e.Subject == "repository" && e.RepositoryID == n.id:
				repositories++
				if e.Rows["issues"] != 1 || e.Rows["label_ledger"] < 1 || e.Rows["issue_classifications"] != 1 {
					s.t.Fatalf("rows erased: %v", e.Rows)
				}
			case e.Subject == "installation" && e.InstallationID == n.installation:
				installations++
			}
		}
		if repositories > 1 || installations > 1 {
			s.t.Fatalf("erased more than once: %+v", log.Log)
		}
		return repositories == 1 && installations == 1 && len(log.Pending) == 0 && len(log.Forgets) == 0
	})
}

// TestUninstalledDataIsErased: after an uninstallation the data is listed with
// the date of its erasure; when that has come nothing of it is left in any file
// of the store, and other repositories are as they were.
func TestUninstalledDataIsErased(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 71})
	s.start()
	t.Cleanup(s.dump)
	s.installTestRepository()
	leaving := s.installAnother("leaving", "notes")
	ctx := testContext(t)
	kept, err := s.github.OpenIssue(ctx, testRepo, bugReport(1))
	if err != nil {
		t.Fatal(err)
	}
	s.waitLabel(kept, "kind/bug")
	if err := s.github.Uninstall(ctx, leaving.installation); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the repository waits to be erased", func() bool {
		log := s.erasures()
		if len(log.Log) != 0 {
			t.Fatalf("erased within the grace period: %+v", log.Log)
		}
		for _, p := range log.Pending {
			if p.RepositoryID == leaving.id && p.Name == leaving.repository && p.Because == "uninstalled" && p.DueAt.Equal(p.RemovedAt.Add(30*24*time.Hour)) {
				return true
			}
		}
		return false
	})
	s.stop()
	if !s.storeHolds(leaving.secret) {
		t.Fatal("the store's file does not hold the text even before it is erased: the search proves nothing")
	}
	s.env = []string{"DISPATCHAI_ERASE_AFTER=0s"}
	s.start()
	s.waitErased(leaving)
	if _, ok := s.issue(kept); !ok {
		t.Error("an issue of another repository is gone, too")
	}
	s.stop()
	for _, text := range []string{leaving.secret, leaving.repository} {
		if s.storeHolds(text) {
			t.Errorf("the store's file still holds %q", text)
		}
	}
}

// TestUninstallationUnheard: an uninstallation that no webhook told of is found
// at the next start, when GitHub lists the App's installations.
func TestUninstallationUnheard(t *testing.T) {
	t.Parallel()
	s := newSystem(t, simulate.Options{Seed: 72, RateLimits: simulate.RateLimits{Off: true}})
	s.start()
	t.Cleanup(s.dump)
	s.installTestRepository()
	leaving := s.installAnother("leaving", "notes")
	s.stop()
	if err := s.github.SetWebhookURL(""); err != nil {
		t.Fatal(err)
	}
	if err := s.github.Uninstall(testContext(t), leaving.installation); err != nil {
		t.Fatal(err)
	}
	s.start()
	eventually(t, "the repository waits to be erased", func() bool {
		pending := s.erasures().Pending
		return slices.ContainsFunc(pending, func(p erasure) bool { return p.RepositoryID == leaving.id && p.Because == "uninstalled" })
	})
	for _, p := range s.erasures().Pending {
		if p.RepositoryID != leaving.id && p.RepositoryID != 0 {
			t.Errorf("%s is to be erased, too", p.Name)
		}
	}
}

// storeHolds looks for a text in the files of the database.
func (s *system) storeHolds(text string) bool {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dataDir, "dispatchai.db*"))
	if err != nil || len(files) == 0 {
		s.t.Fatalf("the store's files: %v, %v", files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		if strings.Contains(string(content), text) {
			return true
		}
	}
	return false
}
