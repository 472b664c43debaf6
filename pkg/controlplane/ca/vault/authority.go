package vault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/openbao/openbao/api/v2"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

const (
	// probeLifetime is the lifetime of leaves that are issued only to learn which CA signs.
	probeLifetime = 5 * time.Minute
	// shortfall is how much shorter than requested a leaf may be before a warning is logged.
	shortfall = time.Minute
)

// Authority issues leaves through Vault. It is safe for concurrent use after Load.
type Authority struct {
	cfg     Config
	server  *server
	session *session
	gate    *gate

	mu       sync.Mutex
	loaded   *ca.Trust
	shown    string        // the CA that the engine published at the last comparison
	shortOf  time.Duration // the longest lifetime that was logged as shortened
	renewed  string        // fingerprint of the renewed CA certificate that was logged
	reported ca.RootState

	reporting sync.Mutex // held during Report, so that calls do not overlap
}

var _ ca.Authority = (*Authority)(nil)

// New checks the configuration. It does not contact the server, which may not be up yet.
func New(cfg Config) (*Authority, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("certificate provider vault: %w", err)
	}
	server := newServer(cfg)
	return &Authority{cfg: cfg, server: server, session: newSession(cfg, server), gate: newGate(cfg.Now)}, nil
}

// Load learns the CA by issuing one leaf, which also proves that the login and the role work.
// It retries until that succeeds or ctx ends, and logs why it has not.
func (a *Authority) Load(ctx context.Context) error {
	a.warnOfPlainText()
	var last error
	for failures := 1; ; failures++ {
		err := a.load(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			if last == nil || err.Error() != last.Error() {
				a.cfg.Log.Warn("root CA not loaded yet, will retry", "error", err)
			}
			last = err
		}
		timer := time.NewTimer(pause(failures, maxTick))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("load root CA from %s: %w", a.cfg, errors.Join(context.Cause(ctx), last))
		case <-timer.C:
		}
	}
}

// warnOfPlainText warns about plain http, unless the server is on this host: then it is an agent that encrypts.
func (a *Authority) warnOfPlainText() {
	u, err := url.Parse(a.cfg.Address)
	if err != nil || u.Scheme == "https" || u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback() {
		return
	}
	a.cfg.Log.Warn("the certificate provider is used over plain http: anyone who can read the traffic gets the control plane's token; use https", "address", a.cfg.Address)
}

func (a *Authority) load(ctx context.Context) error {
	shown, err := a.shownCA(ctx)
	if err != nil {
		return err
	}
	_, trust, err := a.sign(ctx, a.probe(), probeLifetime, nil)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.loaded, a.shown = &trust, shown
	a.mu.Unlock()
	a.report(ca.RootStatus{State: ca.RootSame, Found: trust.Fingerprint})
	return nil
}

// probe returns a request for a leaf that is not used. Its key is discarded.
func (a *Authority) probe() ca.Request {
	return ca.Request{
		Identity: identity.Identity{Namespace: "osm-self-test", ServiceAccount: "osm-self-test"},
		Usage:    ca.UsageService, TTL: probeLifetime,
	}
}

// Trust returns what peers need to verify the leaves. It is empty until Load returns.
func (a *Authority) Trust() ca.Trust {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.loaded == nil {
		return ca.Trust{}
	}
	return *a.loaded
}

// Issue issues a leaf. It expires no later than the CA.
func (a *Authority) Issue(ctx context.Context, req ca.Request) (*ca.Leaf, error) {
	leaf, err := a.issue(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("issue %s certificate for %s: %w", req.Usage, req.Identity, err)
	}
	return leaf, nil
}

// requestKey identifies requests that a role treats alike.
type requestKey struct {
	identity identity.Identity
	usage    ca.Usage
}

func (a *Authority) issue(ctx context.Context, req ca.Request) (*ca.Leaf, error) {
	trust := a.Trust()
	if trust.Fingerprint == "" {
		return nil, errors.New("the root CA is not loaded yet")
	}
	ttl, err := ca.TTL(req, trust, a.cfg.Now())
	if err != nil {
		return nil, err
	}
	var leaf *ca.Leaf
	err = a.gate.pass(ctx, requestKey{req.Identity, req.Usage}, func() (outcome, error) {
		var err error
		leaf, _, err = a.sign(ctx, req, ttl, &trust)
		return outcomeOf(ctx, err), err
	})
	if err != nil {
		return nil, err
	}
	a.logShort(leaf, ttl)
	return leaf, nil
}

// outcomeOf classifies the result of a request.
func outcomeOf(ctx context.Context, err error) outcome {
	failure, isFailure := errors.AsType[*Error](err)
	_, isUnusable := errors.AsType[*unusableError](err)
	switch {
	case err == nil:
		return succeeded
	case ctx.Err() != nil:
		return abandoned
	case isUnusable, isFailure && failure.about() == aboutRequest:
		return refused
	}
	return failed
}

// unusableError means that a leaf was signed but cannot be used.
type unusableError struct{ cause error }

func (e *unusableError) Error() string { return e.cause.Error() }
func (e *unusableError) Unwrap() error { return e.cause }

// sign gets a leaf for a new key and verifies it against a trust; nil means the CA that comes with the leaf.
// It also returns that CA.
func (a *Authority) sign(ctx context.Context, req ca.Request, ttl time.Duration, against *ca.Trust) (*ca.Leaf, ca.Trust, error) {
	csr, key, err := ca.NewSigningRequest(req, a.cfg.TrustDomain)
	if err != nil {
		return nil, ca.Trust{}, &unusableError{err}
	}
	secret, err := a.session.call(ctx, a.cfg.signPath(), map[string]any{
		"csr": string(csr), "ttl": fmt.Sprintf("%ds", int(ttl.Seconds())), "format": "pem",
	})
	if err != nil {
		return nil, ca.Trust{}, err
	}
	now := a.cfg.Now()
	leaf, signer, err := a.read(secret, req, key, against, now)
	if err != nil {
		return nil, ca.Trust{}, &unusableError{fmt.Errorf("vault %s, path %s: %w", a.cfg.Address, a.cfg.signPath(), err)}
	}
	return leaf, signer, nil
}

// read checks the response to a signing request.
func (a *Authority) read(secret *api.Secret, req ca.Request, key ca.Key, against *ca.Trust, now time.Time) (*ca.Leaf, ca.Trust, error) {
	chain, issuing := chainOf(secret.Data)
	signer, err := ca.SignerTrust([]byte(chain), []byte(issuing), now)
	if err != nil {
		return nil, ca.Trust{}, err
	}
	if against == nil {
		against = &signer
	}
	leaf, err := ca.LeafFromPEM(req, a.cfg.TrustDomain, []byte(chain), key, *against, now)
	a.compare(*against, signer, err)
	if err != nil {
		return nil, ca.Trust{}, err
	}
	return leaf, signer, nil
}

// chainOf extracts the certificates from a response: the leaf with the signer's chain, which the server
// returns for intermediates, and the signer.
func chainOf(data map[string]any) (chain, issuing string) {
	chain, _ = data["certificate"].(string)
	issuing, _ = data["issuing_ca"].(string)
	parents, _ := data["ca_chain"].([]any)
	for _, parent := range parents {
		if text, ok := parent.(string); ok {
			chain = strings.TrimRight(chain, "\n") + "\n" + text
		}
	}
	return chain, issuing
}

// logShort logs once that the role limits lifetimes.
func (a *Authority) logShort(leaf *ca.Leaf, asked time.Duration) {
	got := leaf.NotAfter.Sub(leaf.Issued)
	if asked-got < shortfall {
		return
	}
	a.mu.Lock()
	logged := asked <= a.shortOf
	a.shortOf = max(a.shortOf, asked)
	a.mu.Unlock()
	if !logged {
		a.cfg.Log.Warn("certificates have a shorter lifetime than configured: raise max_ttl", "role", a.cfg.Mount+"/roles/"+a.cfg.Role, "configured", asked, "served", got.Round(time.Second))
	}
}
