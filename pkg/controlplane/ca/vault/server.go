package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/openbao/openbao/api/v2"
)

// maxInFlight bounds the concurrent requests.
const maxInFlight = 8

// server sends single requests. It does not retry and holds no token.
type server struct {
	cfg  Config
	http *http.Client
}

func newServer(cfg Config) *server {
	transport := cfg.transport
	if transport == nil {
		transport = newTransport(cfg)
	}
	return &server{cfg, &http.Client{
		Transport: &fence{cfg, bounded{transport}},
		// The library itself follows a standby server's redirect, but never from https to plain http.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// fence keeps requests, which carry a token, from servers that the configuration does not name: the
// library follows redirects to anywhere.
type fence struct {
	cfg  Config
	next http.RoundTripper
}

// RoundTrip sends a request if its server may see a token.
func (f *fence) RoundTrip(r *http.Request) (*http.Response, error) {
	if !f.cfg.sends(r.URL.Host) {
		return nil, fmt.Errorf("redirected to %s, which is not one of the servers that may be sent a token", r.URL.Host)
	}
	return f.next.RoundTrip(r)
}

func newTransport(cfg Config) *http.Transport {
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(cfg.CABundle) > 0 {
		tlsConfig.RootCAs = x509.NewCertPool()
		tlsConfig.RootCAs.AppendCertsFromPEM(cfg.CABundle) // checked by Config.validate
	}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: cfg.Timeout}).DialContext,
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: cfg.Timeout,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: maxInFlight,
		IdleConnTimeout:     time.Minute,
	}
}

func (s *server) write(ctx context.Context, token, path string, body map[string]any) (*api.Secret, error) {
	return s.do(ctx, token, path, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.WriteWithContext(ctx, path, body)
	})
}

func (s *server) read(ctx context.Context, token, path string) (*api.Secret, error) {
	return s.do(ctx, token, path, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.ReadWithContext(ctx, path)
	})
}

// do sends one request. Its errors are of type *Error, unless the caller's context ended.
func (s *server) do(ctx context.Context, token, path string, send func(context.Context, *api.Logical) (*api.Secret, error)) (*api.Secret, error) {
	client, err := s.client(token)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	secret, err := send(limited, client.Logical())
	switch {
	case ctx.Err() != nil && err != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, s.explain(path, err)
	case secret == nil:
		return nil, s.explain(path, errors.New("the response is empty"))
	}
	return secret, nil
}

// client returns a new client of the library for one token. Each request has its own, because a client has
// one token, and several tokens may be in use during a change.
func (s *server) client(token string) (*api.Client, error) {
	client, err := api.NewClient(&api.Config{
		Address:            s.cfg.Address,
		HttpClient:         s.http,
		DisableEnvironment: true, // the pod's environment must not configure us
	})
	if err != nil {
		return nil, fmt.Errorf("make client for %s: %w", s.cfg, err)
	}
	client.SetToken(token)
	if s.cfg.Namespace != "" {
		client.SetNamespace(s.cfg.Namespace)
	}
	return client, nil
}
