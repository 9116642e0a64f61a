package sdk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// ProxyKey is the environment variable that holds the path of the Unix socket on
// which the host's HTTP proxy (CONNECT) listens, for plugins in languages that have
// no HTTPTransport.
const ProxyKey = "DISPATCHAI_PROXY"

// HTTPTransport is a way to the hosts that the plugin's manifest names. A plugin has
// no other network; where no host started it, under a debugger or in a test, it is the
// ordinary network. The caller may change it before the first request.
func HTTPTransport() *http.Transport {
	return &http.Transport{
		DialContext:           Dial,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          100,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

// Dial connects to host:port over TCP, the way that HTTPTransport does, for
// protocols other than HTTP.
func Dial(ctx context.Context, network, address string) (net.Conn, error) {
	proxy := os.Getenv(ProxyKey)
	if proxy == "" {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", proxy)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	through, err := connect(c, address)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, errors.Join(fmt.Errorf("connect to %s: %w", address, err), c.Close())
	}
	return through, nil
}

// connect asks a proxy for a tunnel.
func connect(c net.Conn, address string) (net.Conn, error) {
	if _, err := fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", address, address); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(c)
	response, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		why, _, _ := bufio.NewReader(response.Body).ReadLine()
		return nil, fmt.Errorf("%s: %s", response.Status, why)
	}
	return &tunnel{c, reader}, nil
}

// tunnel is a connection of which a part was read already.
type tunnel struct {
	net.Conn
	reader *bufio.Reader
}

func (t *tunnel) Read(b []byte) (int, error) { return t.reader.Read(b) }
