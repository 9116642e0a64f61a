package plugin

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dispatchai/dispatchai/core/triage"
	"github.com/dispatchai/dispatchai/plugins/sdk"
	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

// Host and plugin agree on the highest version that both speak, and say which
// they speak where there is none.
func TestProtocolVersions(t *testing.T) {
	for mode, want := range map[string]int{"sdk": 1, "raw": 1, "newer": 1} {
		if got := launch(t, mode, Options{}).Describe().Protocol; got != want {
			t.Errorf("%s: version %d, want %d", mode, got, want)
		}
	}
	_, err := Launch(limited(t), Spec{Name: "test", Path: self(t), Args: []string{asPlugin, "future"}}, Options{})
	if err == nil || !strings.Contains(err.Error(), "it speaks version 9 of the plugin protocol, and this DispatchAI version 1; update") {
		t.Errorf("a plugin of the future: %v", err)
	}
}

// A trial shows what a plugin says, before anything of it is dropped.
func TestTrial(t *testing.T) {
	try := func(mode string) *Trial {
		trial, err := Try(limited(t), Spec{Name: "test", Path: self(t), Args: []string{asPlugin, mode}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := trial.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(trial.plugin.runDir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("its directory is left: %v", err)
			}
		})
		return trial
	}
	raw := try("raw")
	r, err := pb.NewClassifierServiceClient(raw.Conn()).Classify(limited(t), &pb.ClassifyRequest{
		Repositories: []*pb.Repository{{}}, Items: []*pb.Item{{Id: 1, Issue: &pb.Issue{Title: "values"}}},
	})
	if err != nil || r.GetOutcomes()[0].GetClassification().GetAnswers()[0].GetValues()[0] != "security" {
		t.Errorf("%v, %v", r, err)
	}
	subject := try("sdk")
	if d, err := subject.Describe(limited(t)); err != nil || d.Name != "subject" || d.Protocol != 1 || !d.Learns {
		t.Errorf("%+v, %v", d, err)
	}
	if err := subject.HangUp(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-subject.Ended():
		if err := subject.Cause(); !strings.Contains(err.Error(), "exit status 0") {
			t.Error(err)
		}
	case <-limited(t).Done():
		t.Error("it did not end with its standard input")
	}
	if _, err := Try(limited(t), Spec{Name: "test", Path: self(t), Args: []string{asPlugin, "exit"}}, Options{}); err == nil || !strings.Contains(err.Error(), "cannot open the model file") {
		t.Errorf("a plugin that ends: %v", err)
	}
}

// debugged is a plugin that a person runs.
type debugged struct {
	cmd  *exec.Cmd
	file string
}

// debug runs the plugin as a person does, and gives the file that it prints.
func debug(t *testing.T, tmp string) *debugged {
	t.Helper()
	cmd := exec.CommandContext(limited(t), self(t), asPlugin, "sdk")
	cmd.Env = []string{sdk.DebugKey + "=1", "TMPDIR=" + tmp}
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &debugged{cmd: cmd}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if _, file, ok := strings.Cut(lines.Text(), "plugin test reattach:"); ok {
			d.file = file
		}
		if strings.HasPrefix(lines.Text(), "Ctrl-C") {
			return d
		}
	}
	t.Fatalf("it did not say how to reach it: %v", cmd.Wait())
	return nil
}

func (d *debugged) interrupt(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("it did not end in order: %v", err)
	}
	if _, err := os.Stat(d.file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its file is left: %v", err)
	}
}

// A plugin that a person runs is asked like any other, waited for while it is
// gone, found again when it is back, and never ended by the host.
func TestReattach(t *testing.T) {
	tmp := t.TempDir()
	person := debug(t, tmp)
	p, err := Launch(limited(t), Spec{Name: "test", Reattach: person.file}, Options{MinBackoff: time.Millisecond, CallTimeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if d := p.Describe(); d.Name != "subject" || d.Protocol != 1 {
		t.Errorf("%+v", d)
	}
	for range 2 {
		if out := classify(t, p, "one", "two"); out[0].Err != nil || out[1].Fields[triage.FieldCategory].Value() != "bug" {
			t.Fatalf("%+v", out)
		}
		if h := p.Health(); h.PID != person.cmd.Process.Pid {
			t.Errorf("%+v", h)
		}
		person.interrupt(t)
		eventually(t, "it is waited for", func() bool {
			return p.Health().State == BackingOff && strings.Contains(p.Health().LastError, "start the plugin")
		})
		if _, err := p.Classify(limited(t), items("gone")); !errors.Is(err, ErrUnavailable) {
			t.Errorf("while it is gone: %v", err)
		}
		person = debug(t, tmp)
		eventually(t, "it is found again", func() bool { return p.Health().State == Running })
	}
	// One that stands at a breakpoint is left alone too.
	out := classify(t, p, "hang")
	if e, ok := errors.AsType[*CallError](out[0].Err); !ok || e.How != TimedOut {
		t.Errorf("while it hangs: %v", out[0].Err)
	}
	eventually(t, "it is asked again", func() bool { return p.Health().State == Running })
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := person.cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the host ended a plugin that is not its own: %v", err)
	}
	person.interrupt(t)
}

// Only a socket of this user, in a directory that nobody else can enter, is connected to.
func TestReattachRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	person := debug(t, t.TempDir())
	defer person.interrupt(t)
	socket := filepath.Join(filepath.Dir(person.file), "subject.sock")
	for want, spec := range map[string]Spec{
		"there is no file":                 {Reattach: filepath.Join(dir, "nothing")},
		"is not a Unix socket":             {Reattach: file("plain", fmt.Sprintf(`{"protocols":[1],"socket":%q,"pid":1}`, file("s", "")))},
		"it speaks version 3, 9 of the pl": {Reattach: file("future", fmt.Sprintf(`{"protocols":[9,3],"socket":%q,"pid":1}`, socket))},
		"only one is possible":             {Reattach: person.file, Path: self(t)},
	} {
		spec.Name = "test"
		if p, err := Launch(limited(t), spec, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
			if p != nil {
				_ = p.Close()
			}
		}
	}
}
