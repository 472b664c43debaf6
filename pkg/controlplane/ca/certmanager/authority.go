package certmanager

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/wake"
)

// Group is cert-manager's API group, KindIssuer and KindClusterIssuer are its own issuers.
const (
	Group             = v1alpha2.DefaultIssuerGroup
	KindIssuer        = v1alpha2.DefaultIssuerKind
	KindClusterIssuer = "ClusterIssuer"
)

// Defaults of Config.
const (
	// DefaultMaxInFlight is enough: cert-manager's own controllers handle five at a time.
	DefaultMaxInFlight = 8
	// DefaultTimeout is shorter than callers wait, so that they get a reason instead of a deadline.
	DefaultTimeout = 20 * time.Second
	// DefaultProbeInterval bounds how late a changed CA is noticed if nothing is renewed.
	DefaultProbeInterval = 10 * time.Minute
)

// removeTimeout bounds the delete that follows each request, even if its caller has given up.
const removeTimeout = 5 * time.Second

// IssuerRef names the issuer. An issuer of a group other than cert-manager's is external: only the outcome
// of its requests shows its health.
type IssuerRef struct {
	// Name is required.
	Name string
	// Kind is KindIssuer (the default), KindClusterIssuer, or an external kind.
	Kind string
	// Group is Group when empty.
	Group string
}

// String returns the issuer's name for messages.
func (r IssuerRef) String() string {
	if r.Group != Group {
		return fmt.Sprintf("%s.%s %q", r.Kind, r.Group, r.Name)
	}
	return fmt.Sprintf("%s %q", r.Kind, r.Name)
}

// Config configures an Authority.
type Config struct {
	// Client is required. Its rate limit must leave room for three requests per certificate.
	Client dynamic.Interface
	// Namespace is the mesh's. Requests are created there, and an Issuer must be there. Required.
	Namespace string
	// Mesh is the mesh's name, with which requests are labelled. Required.
	Mesh string
	// TrustDomain is required.
	TrustDomain identity.TrustDomain
	// Issuer is required.
	Issuer IssuerRef
	// MaxInFlight bounds the requests that exist at the same time; zero means DefaultMaxInFlight.
	MaxInFlight int
	// Timeout bounds each request; zero means DefaultTimeout.
	Timeout time.Duration
	// ProbeInterval is how long the issuer may be idle before Run requests a leaf; zero means DefaultProbeInterval.
	ProbeInterval time.Duration
	// Report receives how the issuer's CA compares with the loaded one: from Load, and from Run at each
	// change, one call at a time. It may be nil.
	Report func(ca.RootStatus)
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	// Log receives what is not returned as an error; nil discards it.
	Log *slog.Logger
}

// String returns the provider's name for messages.
func (c Config) String() string {
	if c.Issuer.Kind == KindClusterIssuer {
		return "cert-manager's " + c.Issuer.String()
	}
	return fmt.Sprintf("cert-manager's %s in namespace %s", c.Issuer, c.Namespace)
}

// withDefaults checks the configuration and fills in the defaults.
func (c Config) withDefaults() (Config, error) {
	if c.Client == nil || c.Namespace == "" || c.Mesh == "" || c.TrustDomain == "" || c.Issuer.Name == "" {
		return c, errors.New("new cert-manager provider: a client, the mesh's namespace and name, a trust domain and an issuer's name are required")
	}
	c.Issuer.Kind = cmp.Or(c.Issuer.Kind, KindIssuer)
	c.Issuer.Group = cmp.Or(c.Issuer.Group, Group)
	if c.Issuer.Group == Group && c.Issuer.Kind != KindIssuer && c.Issuer.Kind != KindClusterIssuer {
		return c, fmt.Errorf("new cert-manager provider: issuer kind %q in group %s: want %s or %s, or the group of an external issuer",
			c.Issuer.Kind, Group, KindIssuer, KindClusterIssuer)
	}
	if c.MaxInFlight < 0 || c.Timeout < 0 || c.ProbeInterval < 0 {
		return c, errors.New("new cert-manager provider: the maximum number of requests in flight, the timeout and the probe interval must not be negative")
	}
	c.MaxInFlight = cmp.Or(c.MaxInFlight, DefaultMaxInFlight)
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	c.ProbeInterval = cmp.Or(c.ProbeInterval, DefaultProbeInterval)
	if c.Report == nil {
		c.Report = func(ca.RootStatus) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Authority issues through cert-manager. It is safe for concurrent use; Issue needs Load first.
type Authority struct {
	cfg      Config
	requests dynamic.ResourceInterface
	issuers  dynamic.ResourceInterface // nil for an external issuer
	places   chan struct{}             // one taken per request in flight
	changed  wake.Signal               // the signer changed

	mu     sync.Mutex
	trust  ca.Trust
	signer signer
	heard  bool // the issuer signed since Run last checked
}

var _ ca.Authority = (*Authority)(nil)

// signer is the CA that signed last.
type signer struct {
	fingerprint string
	// accepted is whether peers that trust the loaded CA accept what this one signs, as they do if the CA's
	// certificate was renewed for the same key.
	accepted bool
}

// New returns an Authority. It sends no requests.
func New(cfg Config) (*Authority, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	resource := func(name string) dynamic.NamespaceableResourceInterface {
		return cfg.Client.Resource(schema.GroupVersionResource{Group: Group, Version: "v1", Resource: name})
	}
	a := &Authority{
		cfg:      cfg,
		requests: resource("certificaterequests").Namespace(cfg.Namespace),
		places:   make(chan struct{}, cfg.MaxInFlight),
		changed:  wake.NewSignal(),
	}
	switch {
	case cfg.Issuer.Group != Group:
	case cfg.Issuer.Kind == KindClusterIssuer:
		a.issuers = resource("clusterissuers")
	default:
		a.issuers = resource("issuers").Namespace(cfg.Namespace)
	}
	return a, nil
}

// Trust returns the CA that Load learnt. It is empty before Load.
func (a *Authority) Trust() ca.Trust {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.trust
}

// Issue issues a leaf for a new key. It waits while MaxInFlight requests are in flight.
func (a *Authority) Issue(ctx context.Context, req ca.Request) (*ca.Leaf, error) {
	leaf, err := a.issue(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("issue %s certificate for %s: %w", req.Usage, req.Identity, err)
	}
	return leaf, nil
}

func (a *Authority) issue(ctx context.Context, req ca.Request) (*ca.Leaf, error) {
	trust := a.Trust()
	if trust.Fingerprint == "" {
		return nil, errors.New("the issuer's CA is not known yet: wait until it is loaded")
	}
	ttl, err := ca.TTL(req, trust, a.now())
	if err != nil {
		return nil, err
	}
	got, err := a.ask(ctx, req, ttl)
	if err != nil {
		return nil, err
	}
	a.observe(got)
	leaf, err := ca.LeafFromPEM(req, a.cfg.TrustDomain, got.certificate, got.key, trust, a.now())
	if err != nil {
		return nil, a.unusable(got.name, err)
	}
	return leaf, nil
}

// issuance is the content of an issued request, with the key that the request was for.
type issuance struct {
	name            string
	certificate, ca []byte
	key             ca.Key
}

// ask creates a request, waits for its outcome, and always deletes it.
func (a *Authority) ask(ctx context.Context, req ca.Request, ttl time.Duration) (issuance, error) {
	csr, key, err := ca.NewSigningRequest(req, a.cfg.TrustDomain)
	if err != nil {
		return issuance{}, err
	}
	select {
	case a.places <- struct{}{}:
		defer func() { <-a.places }()
	case <-ctx.Done():
		return issuance{}, fmt.Errorf("wait for one of the %d requests in flight to %s to finish: %w", a.cfg.MaxInFlight, a.cfg.Issuer, context.Cause(ctx))
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	object := a.object(req, csr, ttl)
	got, err := a.submit(ctx, object)
	if err != nil {
		return issuance{}, err
	}
	return issuance{got.name, got.status.Certificate, got.status.CA, key}, nil
}

// remove deletes a request, even if its caller has given up: nothing else would.
func (a *Authority) remove(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	if err := a.requests.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		a.cfg.Log.Warn("CertificateRequest not deleted, a later sweep will", "namespace", a.cfg.Namespace, "name", name, "error", err)
	}
}

// observe records which CA signed a response. It ignores a response without its signer.
func (a *Authority) observe(got issuance) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heard = true
	found, err := ca.SignerTrust(got.certificate, got.ca, a.now())
	if err != nil {
		return
	}
	next := signer{found.Fingerprint, signedBy(got.certificate, a.trust.Bundle)}
	if next != a.signer {
		a.signer = next
		a.changed.Wake()
	}
}

// signedBy reports whether the first certificate was signed with the key of the second.
func signedBy(leafPEM, signerPEM []byte) bool {
	leaf, err := firstCertificate(leafPEM)
	if err != nil {
		return false
	}
	signer, err := firstCertificate(signerPEM)
	return err == nil && bytes.Equal(leaf.RawIssuer, signer.RawSubject) && leaf.CheckSignatureFrom(signer) == nil
}

func firstCertificate(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	return x509.ParseCertificate(block.Bytes)
}

// now is the wall clock without its monotonic reading.
func (a *Authority) now() time.Time { return a.cfg.Now().Round(0) }
