//go:build linux

package confine_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/confine"
)

// The test binary is also the program that is confined, and a host of it that
// has no rights.
const (
	asIntruder = "run-as-intruder"
	asHost     = "run-as-host"
)

func TestMain(m *testing.M) {
	confine.Enter()
	if len(os.Args) > 2 && os.Args[1] == asIntruder {
		if err := json.NewEncoder(os.Stdout).Encode(intrude(os.Args[2:])); err != nil {
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 2 && os.Args[1] == asHost {
		if err := host(os.Args[2], len(os.Args) > 3, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// scene is what an intruder finds around it.
type scene struct {
	Secret   string // a file in a hidden directory
	Socket   string // a Unix socket in it
	Key      string // a hidden file in a directory that is not
	Stranger string // a file of the host's, nowhere mentioned
	Address  string // TCP
	Host     int    // its process ID
	Extra    string // a directory that it may read
}

// intrude tries what a confined program must not be able to do, and some that it
// must. It says what it could do.
func intrude(args []string) map[string]string {
	var s scene
	if err := json.Unmarshal([]byte(args[0]), &s); err != nil {
		return map[string]string{"fault": err.Error()}
	}
	did := make(map[string]string)
	try := func(what string, err error) {
		if err == nil {
			did[what] = "yes"
		}
	}
	read := func(path string) error {
		b, err := os.ReadFile(path)
		if err == nil && len(b) == 0 {
			return errors.New("empty")
		}
		return err
	}
	dial := func(network, address string) error {
		c, err := net.DialTimeout(network, address, 5*time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	try("reads the hidden file", read(s.Secret))
	try("reads the hidden key", read(s.Key))
	try("reads a stranger's file", read(s.Stranger))
	try("connects to the hidden socket", dial("unix", s.Socket))
	try("connects to TCP", dial("tcp", s.Address))
	try("sends UDP", func() error {
		c, err := net.Dial("udp", "192.0.2.1:53")
		if err != nil {
			return err
		}
		_, err = c.Write([]byte("x"))
		return err
	}())
	try("reads the host's environment", read(fmt.Sprintf("/proc/%d/environ", s.Host)))
	try("signals the host", syscall.Kill(s.Host, 0))
	try("is root", func() error {
		if os.Getuid() != 0 {
			return errors.New("no")
		}
		return nil
	}())
	try("becomes root", syscall.Setuid(0))
	try("writes beside the executable", os.WriteFile(filepath.Join(filepath.Dir(os.Args[0]), "mark"), []byte("x"), 0o600))
	try("writes what it may read", os.WriteFile(filepath.Join(s.Extra, "mark"), []byte("x"), 0o600))
	try("has the order in its environment", func() error {
		if os.Getenv("DISPATCHAI_CONFINE") == "" {
			return errors.New("no")
		}
		return nil
	}())
	try("unmounts what hides", syscall.Unmount(filepath.Dir(s.Secret), 0))
	// What it may.
	try("writes home", os.WriteFile(filepath.Join(os.Getenv("HOME"), "kept"), []byte("x"), 0o600))
	try("writes TMPDIR", os.WriteFile(filepath.Join(os.Getenv("TMPDIR"), "t"), []byte("x"), 0o600))
	try("reads its own executable", read(os.Args[0]))
	try("reads what is allowed", read(filepath.Join(s.Extra, "data")))
	try("runs another program", exec.Command("true").Run())
	wd, _ := os.Getwd()
	did["wd"], did["home"], did["uid"], did["greeting"] = wd, os.Getenv("HOME"), strconv.Itoa(os.Getuid()), os.Getenv("GREETING")
	var files, core syscall.Rlimit
	_, _ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files), syscall.Getrlimit(syscall.RLIMIT_CORE, &core)
	did["files"], did["core"] = strconv.FormatUint(files.Max, 10), strconv.FormatUint(core.Max, 10)
	if len(args) > 1 && args[1] == "gorge" {
		b := make([]byte, 2<<30)
		for i := range b {
			b[i] = 1
		}
		did["took 2 GiB"] = "yes"
	}
	return did
}

// allowed is what a confined program can do.
func allowed() []string {
	return []string{"writes home", "writes TMPDIR", "reads its own executable", "reads what is allowed", "runs another program"}
}

// report is what a host without rights found.
type report struct {
	Strength confine.Strength
	Did      map[string]string
}

// host confines an intruder as whoever runs this may.
func host(dir string, withoutNamespaces bool, out io.Writer) error {
	r := report{Strength: confine.Probe()}
	r.Strength.Namespaces = r.Strength.Namespaces && !withoutNamespaces
	var err error
	if r.Did, err = confined(r.Strength, dir); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}

// confined runs an intruder in a scene below dir.
func confined(s confine.Strength, dir string, args ...string) (map[string]string, error) {
	data, etc, extra := filepath.Join(dir, "data"), filepath.Join(dir, "etc"), filepath.Join(dir, "extra")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	room, err := os.MkdirTemp("/tmp", "dispatchai-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(room) }()
	for _, d := range []string{etc, extra} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	sc := scene{
		Secret: filepath.Join(data, "secret"), Socket: filepath.Join(data, "s"), Key: filepath.Join(etc, "key.pem"),
		Stranger: filepath.Join(etc, "stranger"), Host: os.Getpid(), Extra: extra,
	}
	for _, f := range []string{sc.Secret, sc.Key, sc.Stranger, filepath.Join(extra, "data")} {
		if err := os.WriteFile(f, []byte("text"), 0o644); err != nil {
			return nil, err
		}
	}
	listener, err := net.Listen("unix", sc.Socket)
	if err != nil {
		return nil, err
	}
	defer func() { _ = listener.Close() }()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer func() { _ = tcp.Close() }()
	sc.Address = tcp.Addr().String()
	text, err := json.Marshal(sc)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd, err := s.Command(confine.Program{
		Name: "intruder", Path: self, Args: append([]string{asIntruder, string(text)}, args...), Env: []string{"PATH=" + os.Getenv("PATH"), "GREETING=hello"},
		Home: filepath.Join(data, "plugins", "intruder"), Room: room, Reads: []string{extra}, Hidden: []string{data, sc.Key, filepath.Join(dir, "not there")},
		MemoryBytes: 1 << 30,
	})
	if err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, stderr.String())
	}
	did := make(map[string]string)
	return did, json.Unmarshal(out, &did)
}

// open gives a directory that every user may enter, with the test binary in it.
func open(t *testing.T) (dir, binary string) {
	t.Helper()
	dir = t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(dir, "bin", "intruder")
	if err := os.Mkdir(filepath.Dir(binary), 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(binary, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir, binary
}

func check(t *testing.T, did map[string]string, besides ...string) {
	t.Helper()
	var could []string
	for what, answer := range did {
		if answer == "yes" {
			could = append(could, what)
		}
	}
	slices.Sort(could)
	want := slices.Sorted(slices.Values(append(allowed(), besides...)))
	if !slices.Equal(could, want) {
		t.Errorf("it can\n%q\nwant\n%q", could, want)
	}
	if did["greeting"] != "hello" || did["wd"] != did["home"] || did["core"] != "0" || did["files"] != "1024" {
		t.Errorf("%v", slices.Collect(maps.Values(did)))
	}
}

// In full strength nothing gets out, as root and as anybody.
func TestConfined(t *testing.T) {
	s := confine.Probe()
	if !s.Namespaces {
		t.Skipf("namespaces cannot be made here; there is %s", s)
	}
	t.Run("as whoever runs the tests", func(t *testing.T) {
		dir, _ := open(t)
		did, err := confined(s, dir)
		if err != nil {
			t.Fatal(err)
		}
		check(t, did)
		if s.User == (did["uid"] == strconv.Itoa(os.Getuid())) {
			t.Errorf("it runs as user %s", did["uid"])
		}
		if _, err := os.Stat(filepath.Join(dir, "data", "plugins", "intruder", "kept")); err != nil {
			t.Errorf("what it wrote home is not kept: %v", err)
		}
		// Once more, in the same places.
		if did, err = confined(s, dir); err != nil {
			t.Fatal(err)
		}
		check(t, did)
	})
	t.Run("from a closed directory", func(t *testing.T) {
		_, binary := open(t)
		if err := os.Chmod(filepath.Dir(binary), 0o700); err != nil {
			t.Fatal(err)
		}
		did, _ := reported(t, exec.Command(binary, asHost, t.TempDir()))
		if did["runs another program"] == "" || did["is root"] != "" {
			t.Errorf("%v", did)
		}
	})
	t.Run("without Landlock", func(t *testing.T) {
		s := s
		s.Landlock = 0
		dir, _ := open(t)
		did, err := confined(s, dir)
		if err != nil {
			t.Fatal(err)
		}
		// Files of others that are not hidden and open to all are open to it.
		check(t, did, "reads a stranger's file")
	})
	t.Run("beyond its memory", func(t *testing.T) {
		did, err := confined(s, t.TempDir(), "gorge")
		if err == nil || !strings.Contains(err.Error(), "out of memory") && !strings.Contains(err.Error(), "failed to allocate") {
			t.Errorf("it got what it wanted: %v, %v", did, err)
		}
	})
	t.Run("as a user without rights", func(t *testing.T) {
		did, strength := asNobody(t)
		if !strength.Namespaces || strength.User {
			t.Skipf("users without rights get %s here", strength)
		}
		check(t, did)
	})
}

// Without namespaces the user and Landlock still keep it from most.
func TestConfinedWithoutNamespaces(t *testing.T) {
	s := confine.Probe()
	if !s.User || s.Landlock < 6 {
		t.Skipf("not possible here; there is %s", s)
	}
	dir, binary := open(t)
	cmd := exec.Command(binary, asHost, dir, "without namespaces")
	did, _ := reported(t, cmd)
	delete(did, "sends UDP") // which Landlock knows nothing of before its version 10
	check(t, did)
	if did["uid"] == "0" || strings.Contains(did["home"], "data") {
		t.Errorf("it runs as user %s in %s", did["uid"], did["home"])
	}
	// What its user cannot reach is said, not tried.
	s.Namespaces = false
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(closed, "plugin")
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := s.Command(confine.Program{Name: "x", Path: path, Home: filepath.Join(closed, "home"), Room: "/tmp"})
	if err == nil || !strings.Contains(err.Error(), "move it to one") {
		t.Errorf("%v", err)
	}
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err = s.Command(confine.Program{Name: "x", Path: path, Home: filepath.Join(closed, "home"), Room: "/tmp"}); err == nil || !strings.Contains(err.Error(), "chmod o+rx") {
		t.Errorf("%v", err)
	}
}

// asNobody runs a host of an intruder as a user without rights.
func asNobody(t *testing.T) (map[string]string, confine.Strength) {
	t.Helper()
	dir, binary := open(t)
	cmd := exec.Command(binary, asHost, filepath.Join(dir, "scene"))
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if err := errors.Join(os.Mkdir(filepath.Join(dir, "scene"), 0o755), os.Chown(filepath.Join(dir, "scene"), 65534, 65534)); err != nil {
			t.Fatal(err)
		}
	}
	return reported(t, cmd)
}

// reported runs a host and reads what it found.
func reported(t *testing.T, cmd *exec.Cmd) (map[string]string, confine.Strength) {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	return r.Did, r.Strength
}
