// Package confine starts a program that is not trusted with no more than it
// needs: a user, a network, a list of processes and a view of the files of its
// own, bounds on memory and descriptors, and no way to gain rights.
//
// What the system has decides what is enforced (see Strength); a host asks once,
// by Probe, and can tell its operator what is missing.
//
//   - With namespaces (Linux, as root or where users may make them): the program
//     sees an empty network, its own processes and no hidden file, whoever owns it.
//   - As root: it runs as a user that nothing else runs as.
//   - With Landlock (Linux 5.13 and later): it reads system directories and its
//     own, and writes to its own.
//   - On any Unix: resource limits.
//
// The host starts itself, under another name, and Enter, called first thing in
// main, puts the bounds in force and becomes the program: nothing of it runs
// before it is confined, and its process ID is the one that the host started.
package confine

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Program is what to start and what it needs.
type Program struct {
	// Name tells it from others that are confined: its user depends on it.
	Name string
	// Path is the absolute path of the executable. The directory that it is in may
	// be read, unless it is closed to other users and the program runs as one.
	Path string
	Args []string
	// Env is all of its environment but HOME and TMPDIR, which are within Home.
	Env []string
	// Home is its working directory, kept by the caller. It is made where it is
	// missing, and given to the program's user.
	Home string
	// Room is an empty directory of the caller's for this run, in one that all users
	// may enter: it is where directories appear that the program could not reach
	// otherwise.
	Room string
	// Writes and Reads are further files and directories that it may use. Writes
	// are given to the program's user.
	Writes []string
	Reads  []string
	// Hidden are directories and files that it must not see.
	Hidden []string
	// MemoryBytes bounds the data of each of its processes; 0 does not.
	MemoryBytes int64
}

// Strength is what confinement enforces here.
type Strength struct {
	// Namespaces: a network, processes and files of its own.
	Namespaces bool `json:"namespaces"`
	// User: it runs as another user than the host.
	User bool `json:"user"`
	// Landlock: the kernel keeps it to its files; 0 where there is none.
	Landlock int `json:"landlock"`
	// Limits: resource limits.
	Limits bool `json:"limits"`
}

// String says it to an operator.
func (s Strength) String() string {
	var has, lacks []string
	for _, p := range []struct {
		has  bool
		what string
	}{
		{s.Namespaces, "a network and processes of its own"},
		{s.User, "a user of its own"},
		{s.Landlock > 0, "files of its own"},
		{s.Limits, "resource limits"},
	} {
		if p.has {
			has = append(has, p.what)
		} else {
			lacks = append(lacks, p.what)
		}
	}
	if len(lacks) == 0 {
		return strings.Join(has, ", ")
	}
	if len(has) == 0 {
		return "nothing but an environment of its own"
	}
	return strings.Join(has, ", ") + "; without " + strings.Join(lacks, ", ")
}

// enterName is the first argument of a process that Enter takes over.
const enterName = "dispatchai-confine"

// orderKey holds the order for Enter in its environment.
const orderKey = "DISPATCHAI_CONFINE"

// order is what Enter carries out.
type order struct {
	Path   string
	Args   []string // with the program's name
	Dir    string
	Binds  []bind
	Hidden []string
	UID    int // 0: stays who it is
	Reads  []string
	Writes []string
	Memory int64
	// Namespaces tells that the process was started in its own.
	Namespaces bool
	// Landlock asks for it.
	Landlock bool
}

// bind has a directory or a file appear at another place.
type bind struct{ From, To string }

// Command gives the command that starts the program confined as s allows; the
// zero Strength starts it in its home and in a process group of its own, and
// enforces nothing. Its standard streams are the caller's to set.
func (s Strength) Command(p Program) (*exec.Cmd, error) {
	for _, dir := range []string{p.Home, filepath.Join(p.Home, "tmp")} {
		if err := privateDir(dir); err != nil {
			return nil, fmt.Errorf("make its working directory: %w", err)
		}
	}
	if s == (Strength{}) {
		return &exec.Cmd{
			Path: p.Path, Args: append([]string{p.Path}, p.Args...), Env: homed(p.Env, p.Home), Dir: p.Home, SysProcAttr: attributes(s, 0),
		}, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program's own executable: %w", err)
	}
	o := order{
		Path: p.Path, Dir: p.Home, Hidden: existing(p.Hidden), Reads: append(own(p.Path), p.Reads...), Writes: p.Writes,
		Memory: p.MemoryBytes, Namespaces: s.Namespaces, Landlock: s.Landlock > 0,
	}
	if s.User {
		o.UID = userOf(p.Name)
	}
	if err := o.place(p); err != nil {
		return nil, err
	}
	if o.UID != 0 {
		for _, path := range append([]string{p.Home, p.Room}, p.Writes...) {
			if err := give(path, o.UID); err != nil {
				return nil, fmt.Errorf("give %s to the plugin's user: %w", path, err)
			}
		}
	}
	o.Writes = append(o.Writes, o.Dir)
	o.Args = append([]string{o.Path}, p.Args...)
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	return &exec.Cmd{
		Path:        self,
		Args:        []string{enterName},
		Env:         append(homed(p.Env, o.Dir), orderKey+"="+string(text)),
		Dir:         "/",
		SysProcAttr: attributes(s, o.UID),
	}, nil
}

// homed is the environment of a program whose home is dir.
func homed(env []string, dir string) []string {
	return append(slices.Clone(env), "HOME="+dir, "TMPDIR="+filepath.Join(dir, "tmp"))
}

// privateDir makes a directory, and takes it from others where it was theirs to enter.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700)
}

// place sees to it that the program's user can reach its home and its executable.
func (o *order) place(p Program) error {
	beside := func(from, name string) (string, error) {
		to := filepath.Join(p.Room, name)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return "", err
		}
		o.Binds = append(o.Binds, bind{from, to})
		return to, nil
	}
	if o.UID != 0 && !reachable(p.Room) {
		return fmt.Errorf("other users may not enter %s, and the plugin runs as a user of its own; set TMPDIR to a directory that they may", filepath.Dir(p.Room))
	}
	switch {
	case o.Namespaces:
		// What is hidden may hold the home.
		home, err := beside(p.Home, "home")
		if err != nil {
			return err
		}
		o.Dir = home
	case o.UID != 0 && !reachable(p.Home):
		o.Dir = filepath.Join(p.Room, "home")
		for _, dir := range []string{o.Dir, filepath.Join(o.Dir, "tmp")} {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			if err := os.Lchown(dir, o.UID, o.UID); err != nil {
				return err
			}
		}
	}
	if o.UID == 0 && !o.covers(p.Path) {
		return nil
	}
	if err := executableByOthers(p.Path); o.UID != 0 && err != nil {
		return err
	}
	if reachable(p.Path) && !o.covers(p.Path) {
		return nil
	}
	if !o.Namespaces {
		return fmt.Errorf("%s is in a directory that other users may not enter, and the plugin runs as a user of its own; move it to one that they may, such as /opt", p.Path)
	}
	dir := filepath.Dir(p.Path)
	o.Path = filepath.Join(p.Room, "app", filepath.Base(p.Path))
	o.Reads = append(o.Reads, filepath.Dir(o.Path))
	if info, err := os.Stat(dir); err == nil && (o.UID == 0 || info.Mode().Perm()&0o001 != 0) {
		_, err := beside(dir, "app")
		return err
	}
	// Of a directory that others may not enter, the executable alone is shown.
	if err := os.MkdirAll(filepath.Dir(o.Path), 0o755); err != nil {
		return err
	}
	place, err := os.OpenFile(o.Path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	o.Binds = append(o.Binds, bind{p.Path, o.Path})
	return place.Close()
}

// covers tells whether a hidden directory holds the path.
func (o *order) covers(path string) bool {
	return slices.ContainsFunc(o.Hidden, func(h string) bool { return within(path, h) })
}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// own is what a program reads of its own: the directory of its executable,
// unless that is one that much else is in.
func own(path string) []string {
	dir := filepath.Dir(path)
	home, _ := os.UserHomeDir()
	if dir == "/" || dir == home || dir == filepath.Clean(os.TempDir()) {
		return []string{path}
	}
	return []string{dir}
}

func existing(paths []string) []string {
	var found []string
	for _, path := range paths {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			found = append(found, real)
		}
	}
	return found
}

// reachable tells whether other users may enter all directories above the path.
func reachable(path string) bool {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

func executableByOthers(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o005 != 0o005 {
		return fmt.Errorf("%s may not be read and executed by other users, and the plugin runs as a user of its own; allow it with chmod o+rx", path)
	}
	return nil
}

// The users that services get for as long as they run on Linux, by the
// convention of systemd (https://systemd.io/UIDS-GIDS/).
const (
	firstUser = 61184
	users     = 65519 - firstUser + 1
)

// userOf is the user that a program of that name runs as.
func userOf(name string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return firstUser + int(h.Sum32()%users)
}
