package simulate

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// The directory is embedded whole, so that the package builds however many files it holds.
//
//go:embed all:corpus
var corpusFiles embed.FS

// CorpusRepository is one repository of the demo, with the issues that people open in it.
type CorpusRepository struct {
	Repository struct {
		Owner       string `json:"owner"`
		Name        string `json:"name"`
		Description string `json:"description"`
		Private     bool   `json:"private"`
	} `json:"repository"`
	Labels []Label       `json:"labels"`
	Issues []CorpusIssue `json:"issues"`
}

// CorpusIssue is one issue of the demo and what a careful maintainer would make of it.
type CorpusIssue struct {
	Title    string      `json:"title"`
	Body     string      `json:"body"`
	Author   string      `json:"author"`
	Labels   []string    `json:"labels"` // set by the reporter or an issue form
	Expected Expectation `json:"expected"`
}

// Expectation is the classification a careful maintainer would choose; an empty field is left open.
type Expectation struct {
	Category  string `json:"category"`            // one of Categories
	Priority  string `json:"priority,omitempty"`  // critical, high, medium, low
	Component string `json:"component,omitempty"` // named by one of the repository's labels
}

// Categories are the categories that a corpus may expect.
func Categories() []string {
	return []string{"bug", "feature", "question", "documentation", "security", "performance", "maintenance"}
}

func priorities() []string { return []string{"critical", "high", "medium", "low"} }

// FullName is "owner/name".
func (c *CorpusRepository) FullName() string { return c.Repository.Owner + "/" + c.Repository.Name }

// Corpus returns the demo's repositories, sorted by name.
func Corpus() ([]*CorpusRepository, error) {
	files, err := fs.Sub(corpusFiles, "corpus")
	if err != nil {
		return nil, fmt.Errorf("the demo's corpus: %w", err)
	}
	return ReadCorpus(files)
}

// ReadCorpus reads every *.json in the root of files as one repository, sorted by name. All faults are reported at once.
func ReadCorpus(files fs.FS) ([]*CorpusRepository, error) {
	paths, err := fs.Glob(files, "*.json")
	if err != nil {
		return nil, fmt.Errorf("the corpus: %w", err)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%w: the corpus has no *.json", ErrNotFound)
	}
	var repos []*CorpusRepository
	var faults []error
	for _, name := range paths {
		content, err := fs.ReadFile(files, name)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		c, err := ParseCorpus(content)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", path.Base(name), err))
			continue
		}
		repos = append(repos, c)
	}
	slices.SortFunc(repos, func(a, b *CorpusRepository) int { return cmp.Compare(a.FullName(), b.FullName()) })
	return repos, errors.Join(faults...)
}

// ParseCorpus reads one repository's file and checks it: known members only, valid names and labels, unique titles,
// labels that exist, expectations that are known.
func ParseCorpus(content []byte) (*CorpusRepository, error) {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	c := &CorpusRepository{}
	if err := decoder.Decode(c); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows the repository", ErrInvalid)
	}
	var faults []error
	if err := validLogin(c.Repository.Owner); err != nil {
		faults = append(faults, fmt.Errorf("owner: %w", err))
	}
	if !validRepositoryName(c.Repository.Name) {
		faults = append(faults, fmt.Errorf("%w: repository name %q", ErrInvalid, c.Repository.Name))
	}
	known := map[string]bool{}
	for _, l := range c.Labels {
		if err := l.validate(); err != nil {
			faults = append(faults, err)
		}
		if known[strings.ToLower(l.Name)] {
			faults = append(faults, fmt.Errorf("%w: label %q is given twice", ErrInvalid, l.Name))
		}
		known[strings.ToLower(l.Name)] = true
	}
	titles := map[string]bool{}
	for i, is := range c.Issues {
		for _, err := range is.faults(known) {
			faults = append(faults, fmt.Errorf("issue %d (%.40q): %w", i+1, is.Title, err))
		}
		if titles[is.Title] {
			faults = append(faults, fmt.Errorf("%w: issue %d has a title that was used before: %q", ErrInvalid, i+1, is.Title))
		}
		titles[is.Title] = true
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return c, nil
}

func (is CorpusIssue) faults(labels map[string]bool) (faults []error) {
	if err := validText(is.Title, is.Body); err != nil {
		faults = append(faults, err)
	}
	if err := validLogin(is.Author); err != nil {
		faults = append(faults, err)
	}
	for _, l := range is.Labels {
		if !labels[strings.ToLower(l)] {
			faults = append(faults, fmt.Errorf("%w: the repository has no label %q", ErrInvalid, l))
		}
	}
	if !slices.Contains(Categories(), is.Expected.Category) {
		faults = append(faults, fmt.Errorf("%w: category %q is none of %s", ErrInvalid, is.Expected.Category, strings.Join(Categories(), ", ")))
	}
	if p := is.Expected.Priority; p != "" && !slices.Contains(priorities(), p) {
		faults = append(faults, fmt.Errorf("%w: priority %q is none of %s", ErrInvalid, p, strings.Join(priorities(), ", ")))
	}
	return faults
}

// AddCorpus creates the corpus's repositories with their labels and maintainers and installs the App on their owners.
// Repositories that exist already are left alone.
func (g *GitHub) AddCorpus(ctx context.Context, corpus []*CorpusRepository) error {
	owners := map[string]bool{}
	for _, c := range corpus {
		roles := map[string]Role{}
		if c.Repository.Private {
			for _, is := range c.Issues {
				roles[is.Author] = RoleRead
			}
		}
		for i, login := range c.Maintainers() {
			roles[login] = []Role{RoleAdmin, RoleMaintain, RoleTriage}[min(i, 2)]
		}
		err := g.CreateRepository(ctx, NewRepository{Owner: c.Repository.Owner, Name: c.Repository.Name, Description: c.Repository.Description,
			Private: c.Repository.Private, Labels: c.Labels, Roles: roles})
		if errors.Is(err, ErrExists) {
			continue
		}
		if err != nil {
			return fmt.Errorf("corpus repository %s: %w", c.FullName(), err)
		}
		owners[c.Repository.Owner] = true
	}
	for _, c := range corpus {
		if !owners[c.Repository.Owner] {
			continue
		}
		delete(owners, c.Repository.Owner)
		if _, err := g.Install(ctx, c.Repository.Owner, InstallOptions{}); err != nil && !errors.Is(err, ErrExists) {
			return fmt.Errorf("installing the App on %s: %w", c.Repository.Owner, err)
		}
	}
	return nil
}

// Maintainers are the logins of the people who look after the repository: an administrator, a maintainer, a triager.
func (c *CorpusRepository) Maintainers() []string {
	base := strings.ToLower(c.Repository.Name)
	return []string{base + "-lead", base + "-maintainer", base + "-triage"}
}
