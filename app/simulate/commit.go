package simulate

import (
	"context"
	"crypto/sha1" //nolint:gosec // git names its objects by it
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// commit is one state of a repository's files. It is immutable.
type commit struct {
	sha     string
	parent  *commit
	author  *account
	message string
	at      time.Time
	files   map[string]*blob // by path
	trees   map[string]string
}

// blob is the content of a file. It is immutable.
type blob struct {
	sha     string
	content []byte
}

// NewCommit describes changes to a repository's files.
type NewCommit struct {
	// Message is "Update <path>" when empty.
	Message string
	// Branch is the default branch when empty. One that does not exist yet starts from the default branch.
	Branch string
	// Files are written whole, by path.
	Files map[string]string
	// Removed are the paths of files that go.
	Removed []string
}

const noCommit = "0000000000000000000000000000000000000000"

// gitObject names an object as git does, by the SHA-1 of its kind, length and content.
func gitObject(kind string, content []byte) string {
	h := sha1.New() //nolint:gosec // see the import
	fmt.Fprintf(h, "%s %d\x00", kind, len(content))
	h.Write(content)
	return hex.EncodeToString(h.Sum(nil))
}

func newBlob(content string) *blob {
	return &blob{sha: gitObject("blob", []byte(content)), content: []byte(content)}
}

// newCommit makes the commit that has these files.
func newCommit(parent *commit, author *account, message string, at time.Time, files map[string]*blob) *commit {
	m := &commit{parent: parent, author: author, message: message, at: at, files: files, trees: map[string]string{}}
	var b strings.Builder
	fmt.Fprintf(&b, "tree %s\n", m.hashTree(""))
	if parent != nil {
		fmt.Fprintf(&b, "parent %s\n", parent.sha)
	}
	for _, role := range []string{"author", "committer"} {
		fmt.Fprintf(&b, "%s %s <%s> %d +0000\n", role, author.login, author.email(), at.Unix())
	}
	fmt.Fprintf(&b, "\n%s\n", message)
	m.sha = gitObject("commit", []byte(b.String()))
	return m
}

// email is the address GitHub gives to those who keep theirs private.
func (a *account) email() string {
	return strconv.FormatInt(a.id, 10) + "+" + a.login + "@users.noreply.github.com"
}

// entry is a file or a directory within a directory.
type entry struct {
	name string
	path string
	sha  string
	blob *blob // nil for a directory
}

// list returns a directory's entries by name, the root's for the empty path, and nil when there is no such directory.
func (m *commit) list(directory string) []entry {
	prefix := directory
	if prefix != "" {
		prefix += "/"
	}
	found := map[string]entry{}
	for path, b := range m.files {
		rest, within := strings.CutPrefix(path, prefix)
		if !within {
			continue
		}
		name, _, deeper := strings.Cut(rest, "/")
		e := entry{name: name, path: prefix + name}
		if deeper {
			e.sha = m.trees[e.path]
		} else {
			e.sha, e.blob = b.sha, b
		}
		found[name] = e
	}
	return slices.SortedFunc(maps.Values(found), func(a, b entry) int { return strings.Compare(a.name, b.name) })
}

// hashTree names the tree of a directory and of all below it.
func (m *commit) hashTree(directory string) string {
	entries := m.list(directory)
	key := func(e entry) string { // git sorts a directory as if its name ended in a slash
		if e.blob == nil {
			return e.name + "/"
		}
		return e.name
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(key(a), key(b)) })
	var content []byte
	for _, e := range entries {
		mode, sha := "100644", e.sha
		if e.blob == nil {
			mode, sha = "40000", m.hashTree(e.path)
		}
		raw, _ := hex.DecodeString(sha) // made by gitObject
		content = append(content, mode+" "+e.name+"\x00"...)
		content = append(content, raw...)
	}
	m.trees[directory] = gitObject("tree", content)
	return m.trees[directory]
}

// changedAt is when a path last became what it is in this commit.
func (m *commit) changedAt(path string) time.Time {
	at := m
	for at.parent != nil && at.parent.object(path) == m.object(path) {
		at = at.parent
	}
	return at.at
}

// object is the name of what is at a path, nothing when there is nothing.
func (m *commit) object(path string) string {
	if b := m.files[path]; b != nil {
		return b.sha
	}
	return m.trees[path]
}

// differences are the paths added, changed and removed since another commit, which may be nil.
func (m *commit) differences(since *commit) (added, modified, removed []string) {
	var before map[string]*blob
	if since != nil {
		before = since.files
	}
	for _, path := range slices.Sorted(maps.Keys(m.files)) {
		switch old := before[path]; {
		case old == nil:
			added = append(added, path)
		case old.sha != m.files[path].sha:
			modified = append(modified, path)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(before)) {
		if m.files[path] == nil {
			removed = append(removed, path)
		}
	}
	return added, modified, removed
}

func validPath(path string) error {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." || segment == ".git" {
			return fmt.Errorf("%w: %q is not the path of a file in a repository", ErrInvalid, path)
		}
	}
	return nil
}

// apply makes the files that a commit leads to from those of its parent.
func (n NewCommit) apply(parent *commit) (map[string]*blob, error) {
	files := map[string]*blob{}
	if parent != nil {
		files = maps.Clone(parent.files)
	}
	for _, path := range n.Removed {
		if files[path] == nil {
			return nil, fmt.Errorf("%w: no file %q to remove", ErrNotFound, path)
		}
		delete(files, path)
	}
	for path, content := range n.Files {
		if err := validPath(path); err != nil {
			return nil, err
		}
		files[path] = newBlob(content)
	}
	for path := range files {
		for at, c := range path {
			if c == '/' && files[path[:at]] != nil {
				return nil, fmt.Errorf("%w: %q is both a file and a directory", ErrInvalid, path[:at])
			}
		}
	}
	return files, nil
}

func (n NewCommit) message() string {
	if n.Message != "" {
		return n.Message
	}
	for _, path := range slices.Sorted(maps.Keys(n.Files)) {
		return "Update " + path
	}
	for _, path := range n.Removed {
		return "Delete " + path
	}
	return ""
}

// Commit changes files on a branch in one commit and returns its SHA. It sends push, to an installation that reads
// contents and is subscribed. It needs the write role.
func (g *GitHub) Commit(ctx context.Context, repo, login string, n NewCommit) (sha string, err error) {
	err = g.act(ctx, repo, login, RoleWrite, func(c *change) error {
		made, err := c.commit(n)
		if err == nil {
			sha = made.sha
		}
		return err
	})
	return sha, err
}

func (c *change) commit(n NewCommit) (*commit, error) {
	branch := n.Branch
	if branch == "" {
		branch = c.repo.defaultBranch
	}
	head := c.repo.branches[branch]
	parent := head
	if parent == nil {
		parent = c.repo.branches[c.repo.defaultBranch]
	}
	files, err := n.apply(parent)
	if err != nil {
		return nil, err
	}
	made := newCommit(parent, c.actor, n.message(), c.now, files)
	added, modified, removed := made.differences(parent)
	if len(added)+len(modified)+len(removed) == 0 {
		return nil, fmt.Errorf("%w: the commit changes nothing in %s", ErrInvalid, c.repo.fullName())
	}
	c.repo.setBranch(branch, made)
	c.repo.pushed, c.repo.updated = c.now, c.now
	c.push(branch, head, made)
	return made, nil
}

func (r *repository) setBranch(name string, to *commit) {
	r.branches[name] = to
	r.commits[to.sha] = to
}

// resolve finds the commit that a ref names: a branch, or a commit by its SHA or at least seven digits of it. The empty
// ref is the default branch.
func (r *repository) resolve(ref string) *commit {
	if ref == "" || ref == "HEAD" {
		ref = r.defaultBranch
	}
	if m := r.branches[strings.TrimPrefix(strings.TrimPrefix(ref, "refs/"), "heads/")]; m != nil {
		return m
	}
	if m := r.commits[ref]; m != nil {
		return m
	}
	if len(ref) >= 7 {
		for sha, m := range r.commits {
			if strings.HasPrefix(sha, ref) {
				return m
			}
		}
	}
	return nil
}

// push sends the webhook of a branch that moved from one commit, nil when it is new, to another.
func (c *change) push(branch string, from, to *commit) {
	inst, guid := c.announce("push", "", nil, excerpt(to.message))
	if inst == nil {
		return
	}
	before, compare := noCommit, c.repo.pageURL+"/compare/"+branch
	if from != nil {
		before, compare = from.sha, c.repo.pageURL+"/compare/"+from.sha[:12]+"..."+to.sha[:12]
	}
	var d document
	d.begin('{')
	d.str("ref", "refs/heads/"+branch)
	d.str("before", before)
	d.str("after", to.sha)
	c.repo.pushObject(&d)
	d.object("pusher")
	d.str("name", c.actor.login)
	d.str("email", c.actor.email())
	d.end('}')
	d.flag("created", from == nil)
	d.flag("deleted", false)
	d.flag("forced", false)
	d.null("base_ref")
	d.str("compare", compare)
	d.array("commits")
	to.pushed(&d, "", c.repo)
	d.end(']')
	to.pushed(&d, "head_commit", c.repo)
	c.g.closing(&d, c.repo.owner, c.actor, inst)
	c.deliveries = append(c.deliveries, &delivery{guid: guid, event: "push", installation: inst.id, repository: c.repo.id, payload: d})
}

// pushed writes the commit as a push event does.
func (m *commit) pushed(d *document, name string, r *repository) {
	if name != "" {
		d.key(name)
	}
	d.begin('{')
	d.str("id", m.sha)
	d.str("tree_id", m.trees[""])
	d.flag("distinct", true)
	d.str("message", m.message)
	d.instant("timestamp", m.at)
	d.str("url", r.pageURL+"/commit/"+m.sha)
	for _, role := range []string{"author", "committer"} {
		d.object(role)
		d.str("name", m.author.login)
		d.str("email", m.author.email())
		d.str("username", m.author.login)
		d.end('}')
	}
	added, modified, removed := m.differences(m.parent)
	d.strings("added", added)
	d.strings("removed", removed)
	d.strings("modified", modified)
	d.end('}')
}

// SetDefaultBranch makes another branch the default one and sends repository.edited. It needs the admin role.
func (g *GitHub) SetDefaultBranch(ctx context.Context, repo, login, branch string) error {
	return g.act(ctx, repo, login, RoleAdmin, func(c *change) error {
		old := c.repo.defaultBranch
		if c.repo.branches[branch] == nil {
			return fmt.Errorf("%w: no branch %q in %s; commit to it first", ErrNotFound, branch, c.repo.fullName())
		}
		if old == branch {
			return nil
		}
		c.repo.defaultBranch, c.repo.updated = branch, c.now
		c.repo.prepare(g)
		c.emit("repository", "edited", nil, branch, func(d *document) {
			d.object("changes")
			from(d, "default_branch", old)
			d.end('}')
		})
		return nil
	})
}
