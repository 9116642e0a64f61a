package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// pipeGrace is how long a dead process's output is still read, when something
// that it started keeps the pipe open.
const pipeGrace = 500 * time.Millisecond

// maxHandshake bounds the line by which a plugin says where it listens.
const maxHandshake = 4 << 10

// processRunner runs one process for go-plugin, in place of go-plugin's own
// runner, which would hand down the host's standard input, wait for the end of
// the output before it notices the end of the process, and connect to wherever
// the plugin says.
type processRunner struct {
	cmd     *exec.Cmd // its streams are the runner's
	sockets string    // where the plugin must listen
	extra   io.Writer

	stdout, stderr *os.File // read ends
	stdin          *os.File // write end: its end tells the plugin that the host is gone
	exited         chan struct{}

	mu      sync.Mutex
	process *os.Process
	reaped  bool
	err     error // how the process ended
}

// Start implements runner.Runner.
func (r *processRunner) Start(context.Context) error {
	cmd := r.cmd
	var inner []*os.File
	closeAll := func(files ...*os.File) {
		for _, f := range files {
			if f != nil {
				_ = f.Close()
			}
		}
	}
	for _, end := range []struct {
		outer **os.File
		set   func(*os.File)
		reads bool
	}{
		{&r.stdout, func(f *os.File) { cmd.Stdout = f }, true},
		{&r.stderr, func(f *os.File) { cmd.Stderr = f }, true},
		{&r.stdin, func(f *os.File) { cmd.Stdin = f }, false},
	} {
		read, write, err := os.Pipe()
		if err != nil {
			closeAll(inner...)
			closeAll(r.stdout, r.stderr, r.stdin)
			close(r.exited)
			return fmt.Errorf("make a pipe for the plugin: %w", err)
		}
		if end.reads {
			*end.outer = read
			end.set(write)
			inner = append(inner, write)
		} else {
			*end.outer = write
			end.set(read)
			inner = append(inner, read)
		}
	}
	started := make(chan error)
	go func() {
		// Where the process is tied to the life of the thread that started it
		// (see confine), that thread must not end before the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		closeAll(inner...)
		if err != nil {
			closeAll(r.stdout, r.stderr, r.stdin)
			close(r.exited)
			started <- err
			return
		}
		r.mu.Lock()
		r.process = cmd.Process
		r.mu.Unlock()
		started <- nil

		err = cmd.Wait()
		r.mu.Lock()
		r.reaped = true
		if err == nil {
			err = errors.New("exit status 0")
		}
		r.err = err
		r.mu.Unlock()
		// What it left behind in its process group goes with it.
		killGroup(cmd.Process)
		_ = r.stdin.Close()
		deadline := time.Now().Add(pipeGrace)
		_ = r.stdout.SetReadDeadline(deadline)
		_ = r.stderr.SetReadDeadline(deadline)
		close(r.exited)
	}()
	return <-started
}

// Wait implements runner.Runner.
func (r *processRunner) Wait(context.Context) error {
	<-r.exited
	return r.ended()
}

// Kill implements runner.Runner; it may be called at any time.
func (r *processRunner) Kill(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil || r.reaped {
		return nil
	}
	killGroup(r.process)
	if err := r.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// release frees what is left of a process that has ended and is no longer read.
func (r *processRunner) release() {
	if r.stdout != nil {
		_, _ = r.stdout.Close(), r.stderr.Close()
	}
	if r.sockets != "" {
		_ = os.RemoveAll(r.sockets)
	}
}

// ended says how the process ended.
func (r *processRunner) ended() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		return errors.New("the process ended")
	}
	return fmt.Errorf("the process ended: %w", r.err)
}

func (r *processRunner) pid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return 0
	}
	return r.process.Pid
}

// ID implements runner.Runner: empty when there never was a process.
func (r *processRunner) ID() string {
	if pid := r.pid(); pid != 0 {
		return strconv.Itoa(pid)
	}
	return ""
}

// Name implements runner.Runner.
func (r *processRunner) Name() string { return r.cmd.Path }

// Diagnose implements runner.Runner; launch tells what is known in its own words.
func (r *processRunner) Diagnose(context.Context) string { return "" }

// Stderr implements runner.Runner.
func (r *processRunner) Stderr() io.ReadCloser { return r.stderr }

// Stdout implements runner.Runner. go-plugin sees the handshake and no more;
// the rest goes to the log, so that a plugin that prints never blocks on it.
func (r *processRunner) Stdout() io.ReadCloser {
	return &handshakeReader{file: r.stdout, rest: r.extra}
}

// PluginToHost implements runner.Runner. The address is the plugin's word: only
// a socket in the directory made for it is connected to.
func (r *processRunner) PluginToHost(network, address string) (string, string, error) {
	if network != "unix" {
		return "", "", fmt.Errorf("the plugin listens on %s; it must listen on a Unix socket in the directory that PLUGIN_UNIX_SOCKET_DIR names", network)
	}
	if filepath.Dir(filepath.Clean(address)) != filepath.Clean(r.sockets) {
		return "", "", errors.New("the plugin's socket is not in the directory that PLUGIN_UNIX_SOCKET_DIR names")
	}
	if info, err := os.Lstat(address); err != nil || info.Mode().Type() != os.ModeSocket {
		return "", "", errors.New("the plugin names something that is not a Unix socket")
	}
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (r *processRunner) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// handshakeReader gives the first line of a file, bounded, and passes all
// further lines to rest.
type handshakeReader struct {
	file *os.File
	rest io.Writer
	seen int
	done bool
}

func (h *handshakeReader) Read(b []byte) (int, error) {
	for {
		n, err := h.file.Read(b)
		if n > 0 && !h.done {
			line := n
			if i := bytes.IndexByte(b[:n], '\n'); i >= 0 {
				line, h.done = i+1, true
			} else if h.seen+n >= maxHandshake {
				h.done = true
				b[n-1] = '\n'
			}
			h.seen += line
			if line < n {
				_, _ = h.rest.Write(b[line:n])
			}
			return line, err
		}
		if n > 0 {
			_, _ = h.rest.Write(b[:n])
		}
		if err != nil {
			return 0, err
		}
	}
}

func (h *handshakeReader) Close() error { return h.file.Close() }
