package vault_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca/vault"
)

// mostPerMinute bounds the requests of one replica in any minute of a failure, however many proxies wait.
const mostPerMinute = 60

// stub replaces the network and a server, on the clock of a synctest bubble. Other tests use the real
// server; what is counted here takes minutes.
type stub struct {
	t  *testing.T
	ca authority

	mu       sync.Mutex
	times    []time.Time
	tokens   int
	lifetime int // of tokens, in seconds
	fault    func(r *http.Request) (*http.Response, error)
}

func newStub(t *testing.T) *stub {
	return &stub{t: t, ca: newAuthority(t, time.Now().AddDate(1, 0, 0)), lifetime: 3600}
}

func (s *stub) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.times = append(s.times, time.Now())
	fault := s.fault
	s.mu.Unlock()
	if fault != nil {
		if response, err := fault(r); response != nil || err != nil {
			return response, err
		}
	}
	switch path := strings.TrimPrefix(r.URL.Path, "/v1/"); path {
	case "pki/cert/ca":
		return reply(r, 200, map[string]any{"data": map[string]any{"certificate": string(s.ca.pem())}})
	case "auth/kubernetes/login", "auth/token/renew-self":
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tokens++
		return reply(r, 200, map[string]any{"auth": map[string]any{"client_token": fmt.Sprint("token-", s.tokens), "lease_duration": s.lifetime, "renewable": true}})
	case "auth/token/lookup-self":
		return reply(r, 200, map[string]any{"data": map[string]any{"ttl": 3600, "renewable": true}})
	case "pki/sign/openservicemesh":
		return s.sign(r, s.ca)
	}
	return refuse(r, 404, "no handler for route")
}

func (s *stub) sign(r *http.Request, by authority) (*http.Response, error) {
	var body struct{ CSR, TTL string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(body.CSR))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	ttl, err := time.ParseDuration(body.TTL)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: csr.Subject, DNSNames: csr.DNSNames, URIs: csr.URIs,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(ttl), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, by.cert, csr.PublicKey, by.key)
	if err != nil {
		return nil, err
	}
	leaf := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return reply(r, 200, map[string]any{"data": map[string]any{"certificate": string(leaf), "issuing_ca": string(by.pem())}})
}

func reply(r *http.Request, status int, body any) (*http.Response, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(text)), Request: r}, nil
}

func refuse(r *http.Request, status int, text string) (*http.Response, error) {
	return reply(r, status, map[string]any{"errors": []string{text}})
}

func (s *stub) inject(fault func(r *http.Request) (*http.Response, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// busiest returns the maximum number of requests in any minute since a time, and their total.
func (s *stub) busiest(since time.Time) (most, all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	times := s.times
	for len(times) > 0 && times[0].Before(since) {
		times = times[1:]
	}
	first := 0
	for i, t := range times {
		for t.Sub(times[first]) >= time.Minute {
			first++
		}
		most = max(most, i-first+1)
	}
	return most, len(times)
}

func (s *stub) config() vault.Config {
	file := filepath.Join(s.t.TempDir(), "token")
	must(s.t, os.WriteFile(file, []byte("jwt"), 0o600))
	return vault.Config{Address: "http://127.0.0.1:1", Role: "openservicemesh", TrustDomain: domain, Login: vault.Login{TokenFile: file}}.WithTransport(s)
}

// only responds to the paths that contain a text.
func only(text string, status int, said string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		if !strings.Contains(r.URL.Path, text) {
			return nil, nil
		}
		return refuse(r, status, said)
	}
}

// TestRequestRate lets 100 proxies request leaves each second while requests fail for 4 minutes.
func TestRequestRate(t *testing.T) {
	for _, c := range []struct {
		name  string
		given bool
		fault func(s *stub) func(*http.Request) (*http.Response, error)
	}{
		{name: "down", fault: func(*stub) func(*http.Request) (*http.Response, error) {
			return func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }
		}},
		{name: "hanging", fault: func(*stub) func(*http.Request) (*http.Response, error) {
			return func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
		}},
		{name: "sealed", fault: func(*stub) func(*http.Request) (*http.Response, error) { return only("", 503, "Vault is sealed") }},
		{name: "quota", fault: func(*stub) func(*http.Request) (*http.Response, error) { return only("sign", 429, "quota exceeded") }},
		{name: "no permission", fault: func(*stub) func(*http.Request) (*http.Response, error) {
			return only("sign", 403, "permission denied")
		}},
		{name: "no login", fault: func(*stub) func(*http.Request) (*http.Response, error) {
			return func(r *http.Request) (*http.Response, error) { return refuse(r, 403, "permission denied") }
		}},
		{name: "given token revoked", given: true, fault: func(*stub) func(*http.Request) (*http.Response, error) {
			return func(r *http.Request) (*http.Response, error) { return refuse(r, 403, "permission denied") }
		}},
		{name: "no role", fault: func(*stub) func(*http.Request) (*http.Response, error) {
			return only("sign", 400, "unknown role: openservicemesh")
		}},
		{name: "name refused", fault: func(*stub) func(*http.Request) (*http.Response, error) {
			return only("sign", 400, "common name x not allowed by this role")
		}},
		{name: "another CA", fault: func(s *stub) func(*http.Request) (*http.Response, error) {
			other := newAuthority(s.t, time.Now().AddDate(1, 0, 0))
			return func(r *http.Request) (*http.Response, error) {
				if strings.Contains(r.URL.Path, "sign") {
					return s.sign(r, other)
				}
				return nil, nil
			}
		}},
		{name: "tokens of a second", fault: func(s *stub) func(*http.Request) (*http.Response, error) {
			s.mu.Lock()
			s.lifetime = 1
			s.mu.Unlock()
			return only("sign", 403, "permission denied")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStub(t)
				config := s.config()
				if c.given {
					config.Token = func(context.Context) (string, error) { return "given", nil }
				}
				a, err := vault.New(config)
				must(t, err)
				must(t, a.Load(t.Context()))
				run(t, a)
				requesters := newRequesters(t, a, 100)
				time.Sleep(500 * time.Millisecond) // each has made one request

				broken := time.Now()
				s.inject(c.fault(s))
				time.Sleep(4 * time.Minute)
				most, all := s.busiest(broken)
				t.Logf("%d requests in the busiest minute, %d in 4 minutes, %d calls failed", most, all, requesters.failed())
				if most > mostPerMinute {
					t.Errorf("%d requests in one minute, want at most %d", most, mostPerMinute)
				}
				if requesters.failed() < 100*200 {
					t.Errorf("%d calls failed, want nearly all: the fault does not work", requesters.failed())
				}

				healed := time.Now()
				s.mu.Lock()
				s.lifetime = 3600
				s.mu.Unlock()
				s.inject(nil)
				requesters.succeeds()
				if took := time.Since(healed); took > 61*time.Second {
					t.Errorf("recovered after %v", took)
				}
			})
		})
	}
}

// TestRefusedNamesDoNotBlockOthers has 100 workloads whose names the role refuses, and every second one new workload
// whose name it accepts.
func TestRefusedNamesDoNotBlockOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStub(t)
		a, err := vault.New(s.config())
		must(t, err)
		must(t, a.Load(t.Context()))
		s.inject(func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			must(t, err)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if strings.Contains(string(body), "csr") && !strings.Contains(commonName(t, body), "good") {
				return refuse(r, 400, "common name not allowed by this role")
			}
			return nil, nil
		})
		newRequesters(t, a, 100)
		time.Sleep(10 * time.Minute) // until the role has refused each of them once
		late := 0
		for i := range 60 {
			for range 10 {
				if _, err := a.Issue(t.Context(), service(fmt.Sprint("good", i))); err == nil {
					break
				}
				late++
				time.Sleep(time.Second)
			}
			time.Sleep(time.Second)
		}
		if late > 0 {
			t.Errorf("had to repeat %d of 60 good requests", late)
		}
	})
}

// commonName reads the name in the body of a signing request.
func commonName(t *testing.T, body []byte) string {
	t.Helper()
	var request struct{ CSR string }
	must(t, json.Unmarshal(body, &request))
	block, _ := pem.Decode([]byte(request.CSR))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	must(t, err)
	return csr.Subject.CommonName
}

// requesters are proxies that each request a leaf every second.
type requesters struct {
	mu       sync.Mutex
	failures int
	success  chan struct{}
}

func newRequesters(t *testing.T, a *vault.Authority, n int) *requesters {
	c := &requesters{success: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			for ctx.Err() == nil {
				_, err := a.Issue(ctx, service(fmt.Sprint("w", i)))
				c.count(err)
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	return c
}

func (c *requesters) count(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failures++
		return
	}
	select {
	case c.success <- struct{}{}:
	default:
	}
}

func (c *requesters) failed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failures
}

// succeeds waits for the next success.
func (c *requesters) succeeds() {
	select {
	case <-c.success: // drop an earlier one
	default:
	}
	<-c.success
}

// TestLoadRate checks that Load backs off while the server is absent.
func TestLoadRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStub(t)
		s.inject(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
		a, err := vault.New(s.config())
		must(t, err)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		contains(t, a.Load(ctx), "connection refused")
		if most, all := s.busiest(start); most > 10 || all > 300 || all < 100 {
			t.Errorf("%d requests in the busiest minute, %d in the hour", most, all)
		}
	})
}

// TestRenewalsSpread checks that replicas that got their tokens together do not renew them together.
func TestRenewalsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seconds := map[int]int{}
		s := newStub(t)
		for range 20 {
			a, err := vault.New(s.config())
			must(t, err)
			must(t, a.Load(t.Context()))
			run(t, a)
		}
		start := time.Now()
		s.inject(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "renew-self") {
				s.mu.Lock()
				defer s.mu.Unlock()
				seconds[int(time.Since(start).Seconds())]++
			}
			return nil, nil
		})
		time.Sleep(41 * time.Minute) // the lifetime of tokens is an hour
		synctest.Wait()
		renewals := 0
		for second, n := range seconds {
			renewals += n
			if second < 36*60-1 || n > 5 {
				t.Errorf("%d renewals after %d s", n, second)
			}
		}
		if renewals != 20 {
			t.Errorf("%d renewals of 20 tokens, want all at two thirds at the latest", renewals)
		}
	})
}
