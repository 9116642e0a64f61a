package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dispatchai/dispatchai/core/eventlog"
)

const (
	socketName = "broker.sock"
	// brokerAddr is what the broker calls itself in the protocol. Nobody
	// resolves it: the dialer goes to the socket.
	brokerAddr = "embedded:9092"
	// maxSocketPath is what every system's sockaddr_un takes.
	maxSocketPath = 100
	// maxFrame bounds one request, as Kafka's socket.request.max.bytes does.
	maxFrame = 100 << 20
)

// ErrNotRunning says that no process serves the directory's log.
var ErrNotRunning = errors.New("no running dispatchai process serves this log")

// Dial returns the Config by which another process, such as
// `dispatchai dead list`, reaches the running log in dir. The error is
// ErrNotRunning if there is none, even if its socket is still there.
func Dial(ctx context.Context, dir string) (eventlog.Config, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return eventlog.Config{}, err
	}
	conn, err := dial(ctx, dir)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) {
			return eventlog.Config{}, fmt.Errorf("%w: start `dispatchai serve` with the data directory that holds %s", ErrNotRunning, dir)
		}
		return eventlog.Config{}, fmt.Errorf("embedded log: %w", err)
	}
	if err := conn.Close(); err != nil {
		return eventlog.Config{}, fmt.Errorf("embedded log: %w", err)
	}
	return eventlog.Config{Options: dialOptions(dir), Partitions: 1, Replication: 1, Rounds: 1}, nil
}

// withSocketPath calls fn with a path of the directory's socket that is short
// enough for the system, by way of a symbolic link where it is not.
func withSocketPath(dir string, fn func(path string) error) error {
	path := filepath.Join(dir, socketName)
	if len(path) <= maxSocketPath {
		return fn(path)
	}
	short, err := os.MkdirTemp("", "dispatchai-")
	if err == nil && len(short)+len("/d/")+len(socketName) > maxSocketPath {
		err = errors.Join(os.Remove(short))
		if err == nil {
			short, err = os.MkdirTemp("/tmp", "dispatchai-")
		}
	}
	if err != nil {
		return err
	}
	defer os.RemoveAll(short)
	link := filepath.Join(short, "d")
	if err := os.Symlink(dir, link); err != nil {
		return err
	}
	return fn(filepath.Join(link, socketName))
}

func dial(ctx context.Context, dir string) (conn net.Conn, err error) {
	err = withSocketPath(dir, func(path string) error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", path)
		return err
	})
	return conn, err
}

// listener accepts the connections of the broker and keeps them under guard.
type listener struct {
	net.Listener
	path  string
	guard *guard

	mu      sync.Mutex
	conns   map[*conn]struct{}
	severed bool
	open    sync.WaitGroup
}

// listen opens the socket. The directory's lock is held, so a socket that is
// there was left by a process that is gone.
func listen(dir string, g *guard) (*listener, error) {
	path := filepath.Join(dir, socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("embedded log: %w", err)
	}
	l := &listener{path: path, guard: g, conns: make(map[*conn]struct{})}
	err := withSocketPath(dir, func(path string) (err error) {
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return err
		}
		// The path may be a short-lived one; Close removes the real one.
		ln.SetUnlinkOnClose(false)
		l.Listener = ln
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("embedded log: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("embedded log: %w", err), l.Listener.Close())
	}
	return l, nil
}

// Addr is a host and port, as the broker puts them into its answers.
func (l *listener) Addr() net.Addr { return addr{} }

type addr struct{}

func (addr) Network() string { return "unix" }
func (addr) String() string  { return brokerAddr }

func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: nc, listener: l}
		l.mu.Lock()
		severed := l.severed
		if !severed {
			l.conns[c] = struct{}{}
			l.open.Add(1)
		}
		l.mu.Unlock()
		if !severed {
			return c, nil
		}
		nc.Close()
	}
}

func (l *listener) Close() error {
	err := l.Listener.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return errors.Join(err, os.Remove(l.path))
}

// sever closes every connection and refuses new ones.
func (l *listener) sever() {
	l.mu.Lock()
	l.severed = true
	conns := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// wait returns when every connection is closed.
func (l *listener) wait() { l.open.Wait() }

// conn watches the requests that pass, and lets no answer to a producer pass
// before the guard has seen that the data is on disk.
type conn struct {
	net.Conn
	listener *listener
	once     sync.Once

	// Of the reading side alone, which is serial.
	head [6]byte // length and API key of the request being read
	got  int     // of head
	left int     // of the request, after head

	mu       sync.Mutex
	produces bool
}

var errBadRequest = errors.New("embedded log: not a request that this broker knows")

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if badErr := c.inspect(p[:n]); badErr != nil {
		// The broker would panic on it, or allocate whatever it asks for.
		c.Close()
		return 0, badErr
	}
	return n, err
}

func (c *conn) inspect(p []byte) error {
	for len(p) > 0 {
		if c.left > 0 {
			skip := min(c.left, len(p))
			c.left -= skip
			p = p[skip:]
			continue
		}
		n := copy(c.head[c.got:], p)
		c.got += n
		p = p[n:]
		if c.got >= 4 {
			if size := binary.BigEndian.Uint32(c.head[:4]); size < 8 || size > maxFrame {
				return errBadRequest
			}
		}
		if c.got < len(c.head) {
			continue
		}
		key := int16(binary.BigEndian.Uint16(c.head[4:]))
		if kmsg.RequestForKey(key) == nil {
			return errBadRequest
		}
		if key == int16(kmsg.Produce) {
			c.mu.Lock()
			c.produces = true
			c.mu.Unlock()
		}
		c.left = int(binary.BigEndian.Uint32(c.head[:4])) - 2
		c.got = 0
	}
	return nil
}

func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	produces := c.produces
	c.mu.Unlock()
	if produces {
		if err := c.listener.guard.verify(); err != nil {
			c.Close()
			return 0, err
		}
	}
	if err := c.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.listener.mu.Lock()
		delete(c.listener.conns, c)
		c.listener.mu.Unlock()
		c.listener.open.Done()
	})
	return err
}
