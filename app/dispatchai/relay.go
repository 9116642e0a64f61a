package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dispatchai/dispatchai/app/relay"
)

// relayShutdown bounds the wait for webhooks under way when a relay ends.
const relayShutdown = 10 * time.Second

func relayCommand() *cobra.Command {
	var (
		listen, publicURL string
		asJSON            bool
	)
	c := &cobra.Command{
		Use:   "relay",
		Short: "Host a webhook relay, so that developers' machines without a public address receive webhooks",
		Long: "Runs a relay on a machine that GitHub reaches. GitHub posts to a channel, setup --relay and serve --relay on a\n" +
			"developer's machine listen to it. The bytes that GitHub signed are kept, and GitHub is answered with 503 while nobody\n" +
			"listens. It is for development: put TLS in front of it, and keep the channels' URLs secret.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if publicURL != "" {
				if u, err := url.Parse(publicURL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
					return fmt.Errorf("--public-url: %q is not an http(s) URL", publicURL)
				}
			}
			logger := newLogger(c.ErrOrStderr(), slogWarn)
			listener, err := (&net.ListenConfig{}).Listen(c.Context(), "tcp", listen)
			if err != nil {
				return fmt.Errorf("--listen: %w", err)
			}
			if publicURL == "" {
				publicURL = "http://" + listener.Addr().String()
			}
			channel := strings.TrimRight(publicURL, "/") + "/" + relay.NewChannelName()
			if asJSON {
				err = json.NewEncoder(c.OutOrStdout()).Encode(map[string]string{"event": "listening", "addr": listener.Addr().String(), "channel": channel})
			} else {
				_, err = fmt.Fprintf(c.OutOrStdout(), "The relay listens on %s. A channel of your own:\n\n  dispatchai setup --relay %s\n\nFurther ones come from %s/new. Ctrl-C ends the relay.\n",
					listener.Addr(), channel, strings.TrimRight(publicURL, "/"))
			}
			if err != nil {
				return errors.Join(err, listener.Close())
			}
			return serveRelay(c.Context(), listener, logger)
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8090", "host:port to listen on")
	c.Flags().StringVar(&publicURL, "public-url", "", "how GitHub reaches the relay (default: the address it listens on)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func serveRelay(ctx context.Context, listener net.Listener, logger *slog.Logger) error {
	r := relay.NewServer(relay.ServerConfig{Logger: logger})
	// No write timeout: streams last, and each of their writes has a deadline.
	server := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug)}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	r.Close()
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), relayShutdown)
	defer cancel()
	err := server.Shutdown(shutdown)
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
