package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// waiting serves a classifier without a host, in a directory of its own.
func waiting(t *testing.T) (file string, stop func() error) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	s, err := newServer(functional{}, 0, Logger())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(limited(t))
	out, told := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- serveDebug(ctx, s, told)
		_ = told.Close()
	}()
	text := make([]byte, 4<<10)
	n, err := out.Read(text)
	if err != nil {
		t.Fatal(err, <-ended)
	}
	_, rest, ok := bytes.Cut(text[:n], []byte("DISPATCHAI_PLUGINS=functional=reattach:"))
	if !ok {
		t.Fatalf("it says %q", text[:n])
	}
	file, _, _ = strings.Cut(string(rest), " ")
	return file, func() error {
		cancel()
		return <-ended
	}
}

func TestServeDebug(t *testing.T) {
	file, stop := waiting(t)
	r, err := ReadReattach(file)
	if err != nil || r.PID != os.Getpid() || !reflect.DeepEqual(r.Protocols, []int{ProtocolVersion}) {
		t.Fatalf("%+v, %v", r, err)
	}
	s, err := newServer(functional{}, 0, Logger())
	if err != nil {
		t.Fatal(err)
	}
	if err := serveDebug(limited(t), s, io.Discard); err == nil || !strings.Contains(err.Error(), "in another process") {
		t.Errorf("a second one: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := ReadReattach(file); err == nil || !strings.Contains(err.Error(), "start the plugin with DISPATCHAI_PLUGIN_DEBUG=1") {
		t.Errorf("when it has ended: %v", err)
	}
}

// What another user could have put there is refused.
func TestReadReattachRefuses(t *testing.T) {
	for want, spoil := range map[string]func(t *testing.T, dir, socket, file string) error{
		"others may enter the directory": func(_ *testing.T, dir, _, _ string) error { return os.Chmod(dir, 0o750) },
		"is not a Unix socket": func(_ *testing.T, _, socket, _ string) error {
			return errors.Join(os.Remove(socket), os.WriteFile(socket, nil, 0o600))
		},
		"is not a plain file": func(_ *testing.T, _, _, file string) error {
			return errors.Join(os.Rename(file, file+".moved"), os.Symlink(file+".moved", file))
		},
		"there is no socket": func(_ *testing.T, _, socket, _ string) error { return os.Remove(socket) },
		"are not what a plugin writes": func(_ *testing.T, _, _, file string) error {
			return os.WriteFile(file, []byte("{"), 0o600)
		},
		"belongs to another user": func(t *testing.T, _, socket, _ string) error {
			if os.Getuid() != 0 {
				t.Skip("only root can give a file away")
			}
			return os.Lchown(socket, 12345, -1)
		},
		"/dir belongs to another user": func(t *testing.T, dir, _, _ string) error {
			if os.Getuid() != 0 {
				t.Skip("only root can give a directory away")
			}
			return os.Chown(dir, 12345, -1)
		},
	} {
		t.Run(want, func(t *testing.T) {
			tmp, err := os.MkdirTemp("", "sdk")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = os.RemoveAll(tmp) }()
			dir := filepath.Join(tmp, "dir")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			socket, file := filepath.Join(dir, "s"), filepath.Join(dir, "f")
			listener, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = listener.Close() }()
			if err := writeReattach(file, Reattach{Protocols: []int{1}, Socket: socket, PID: 1}); err != nil {
				t.Fatal(err)
			}
			if _, err := ReadReattach(file); err != nil {
				t.Fatal(err)
			}
			if err := spoil(t, dir, socket, file); err != nil {
				t.Fatal(err)
			}
			if _, err := ReadReattach(file); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestParseReattach(t *testing.T) {
	for settings, want := range map[string]string{
		`{"protocols":[2,1],"socket":"/tmp/s","pid":7,"later":true}`:             "",
		`{"protocols":[],"socket":"/tmp/s","pid":7}`:                             "protocols must name",
		`{"protocols":[0],"socket":"/tmp/s","pid":7}`:                            "each above 0",
		`{"protocols":[1],"socket":"s","pid":7}`:                                 "absolute path",
		`{"protocols":[1],"socket":"/tmp/../s","pid":7}`:                         "absolute path",
		`{"protocols":[1],"socket":"/tmp/\u0000s","pid":7}`:                      "absolute path",
		`{"protocols":[1],"socket":"/` + strings.Repeat("s", 103) + `","pid":7}`: "at most 103 bytes",
		`{"protocols":[1],"socket":"/tmp/s"}`:                                    "pid must be",
		`{"protocols":[1],"socket":"/tmp/s","pid":7} {}`:                         "are not what a plugin writes",
		`{"protocols":[1],"socket":"` + strings.Repeat("s", 5000) + `"}`:         "more than 4096 bytes",
		`{"Protocol":"grpc","Addr":{"Network":"tcp","String":"127.0.0.1:80"}}`:   "socket must be",
		`["/tmp/s"]`: "are not what a plugin writes",
	} {
		r, err := ParseReattach([]byte(settings))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", settings, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !reflect.DeepEqual(r, Reattach{})):
			t.Errorf("%.100s: %+v, %v", settings, r, err)
		}
	}
}

// Whatever stands in the file: what is accepted can be a socket's address, and
// means the same when it is written again.
func FuzzParseReattach(f *testing.F) {
	f.Add([]byte(`{"protocols":[1],"socket":"/tmp/s","pid":7}`))
	f.Add([]byte(`{"protocols":[9,1],"socket":"/tmp/../s","pid":-7}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseReattach(data)
		if err != nil {
			return
		}
		if !filepath.IsAbs(r.Socket) || filepath.Clean(r.Socket) != r.Socket || len(r.Socket) > maxSocket || strings.ContainsRune(r.Socket, 0) || r.PID < 1 || len(r.Protocols) == 0 {
			t.Fatalf("%+v was accepted", r)
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := ParseReattach(again); err != nil || !reflect.DeepEqual(same, r) {
			t.Fatalf("%+v became %+v: %v", r, same, err)
		}
	})
}
