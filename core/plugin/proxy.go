package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

// Host is a host that a plugin may speak to.
type Host struct {
	// Name is a host's name, or *. and the end of one; Port is 443 unless set.
	Name string
	Port string
	// Private tells that it may be in a private network, because an operator named
	// it. Names that others chose must not lead there.
	Private bool
}

func (h Host) matches(name, port string) bool {
	own := h.Port
	if own == "" {
		own = "443"
	}
	if port != own {
		return false
	}
	if end, ok := strings.CutPrefix(h.Name, "*"); ok && strings.HasPrefix(end, ".") {
		return len(name) > len(end) && strings.EqualFold(name[len(name)-len(end):], end)
	}
	return strings.EqualFold(name, h.Name)
}

// The bounds of what passes a plugin's proxy.
const (
	maxTunnels    = 64
	tunnelIdle    = 5 * time.Minute
	connectWithin = 10 * time.Second
	proxyDir      = "net"
	proxySocket   = "proxy.sock"
)

// proxy is a plugin's only way to the network: an HTTP proxy (CONNECT, RFC 9110
// section 9.3.6) on a Unix socket that is the plugin's own. It leads to the hosts
// that the plugin may speak to, by name, and to no other.
type proxy struct {
	hosts   atomic.Pointer[[]Host]
	log     *slog.Logger
	metrics *metrics
	told    rate.Sometimes
	server  *http.Server
	served  sync.WaitGroup
	mu      sync.Mutex // of ctx's end, before which served grows
	tunnels chan struct{}
	ctx     context.Context
	cancel  context.CancelFunc
}

// openProxy starts the proxy on a socket below dir.
func (p *Plugin) openProxy(dir string, hosts []Host) (*proxy, error) {
	dir = filepath.Join(dir, proxyDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, proxySocket)
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", socket)
	if err != nil {
		return nil, err
	}
	// The directory is private; within it the plugin's user may connect.
	if err := os.Chmod(socket, 0o666); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	x := &proxy{
		log: p.log, metrics: p.metrics, told: rate.Sometimes{First: 5, Interval: time.Minute},
		tunnels: make(chan struct{}, maxTunnels),
	}
	x.hosts.Store(&hosts)
	x.ctx, x.cancel = context.WithCancel(context.Background())
	x.server = &http.Server{Handler: x, ReadHeaderTimeout: connectWithin, MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	x.served.Go(func() { _ = x.server.Serve(listener) })
	return x, nil
}

// proxyAddress is where the plugin finds its proxy.
func (p *Plugin) proxyAddress() string { return filepath.Join(p.runDir, proxyDir, proxySocket) }

// Close ends the proxy and all that passes it.
func (x *proxy) Close() error {
	x.mu.Lock()
	x.cancel()
	x.mu.Unlock()
	err := x.server.Close()
	x.served.Wait()
	return err
}

func (x *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x.mu.Lock()
	if x.ctx.Err() != nil {
		x.mu.Unlock()
		return
	}
	x.served.Add(1)
	x.mu.Unlock()
	defer x.served.Done()
	if r.Method != http.MethodConnect {
		http.Error(w, "only CONNECT is possible here", http.StatusMethodNotAllowed)
		return
	}
	name, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		http.Error(w, "CONNECT needs host:port", http.StatusBadRequest)
		return
	}
	host, ok := x.find(name, port)
	if !ok {
		x.metrics.connections.WithLabelValues("refused").Inc()
		x.told.Do(func() {
			x.log.Warn("plugin wanted to speak to a host that its manifest does not name", "host", cutText(r.Host, 200))
		})
		http.Error(w, fmt.Sprintf("%s is not among the hosts that the plugin's manifest names", r.Host), http.StatusForbidden)
		return
	}
	select {
	case x.tunnels <- struct{}{}:
		defer func() { <-x.tunnels }()
	default:
		x.metrics.connections.WithLabelValues("busy").Inc()
		http.Error(w, fmt.Sprintf("more than %d connections at a time are not possible", maxTunnels), http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), connectWithin)
	defer cancel()
	outer, err := (&net.Dialer{ControlContext: host.control}).DialContext(ctx, "tcp", net.JoinHostPort(name, port))
	if err != nil {
		x.metrics.connections.WithLabelValues("failed").Inc()
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = outer.Close() }()
	inner, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = inner.Close() }()
	x.metrics.connections.WithLabelValues("ok").Inc()
	if _, err := inner.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n")); err != nil {
		return
	}
	x.tunnel(inner, outer, buffered)
}

func (x *proxy) find(name, port string) (Host, bool) {
	for _, h := range *x.hosts.Load() {
		if h.matches(name, port) {
			return h, true
		}
	}
	return Host{}, false
}

// control looks at the address that a name led to, just before it is connected to.
func (h Host) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	if h.Private {
		return nil
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := to.Addr().Unmap()
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return fmt.Errorf("%s leads to %s, which is not a public address; only an operator's settings may name such a host", h.Name, ip)
	}
	return nil
}

// tunnel passes bytes both ways until one side has ended or nothing has passed
// for a while.
func (x *proxy) tunnel(inner, outer net.Conn, from io.Reader) {
	ended := context.AfterFunc(x.ctx, func() { _, _ = inner.Close(), outer.Close() })
	defer ended()
	idle := time.AfterFunc(tunnelIdle, func() { _, _ = inner.Close(), outer.Close() })
	defer idle.Stop()
	var ways sync.WaitGroup
	pass := func(to net.Conn, from io.Reader) {
		_, _ = io.Copy(to, &lively{from, idle})
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}
	ways.Go(func() { pass(outer, from) })
	ways.Go(func() { pass(inner, outer) })
	ways.Wait()
}

// lively is a reader that puts off a timer with all that it reads.
type lively struct {
	io.Reader
	idle *time.Timer
}

func (l *lively) Read(b []byte) (int, error) {
	n, err := l.Reader.Read(b)
	l.idle.Reset(tunnelIdle)
	return n, err
}
