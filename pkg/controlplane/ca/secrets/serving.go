package secrets

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// ServingConfig configures a ServingController.
type ServingConfig struct {
	// Client, Authority, Mesh and TrustDomain are required.
	Client      kubernetes.Interface
	Authority   ca.Authority
	Mesh        string
	TrustDomain identity.TrustDomain
	// Identity is named in the certificate; the Secret is in its namespace. Required, as are Host, Name and Label.
	Identity identity.Identity
	// Host is the DNS name by which clients know the server.
	Host string
	// Name is the name of the Secret. Label marks it; its value is the name of the mesh.
	Name, Label string
	// TTL is the lifetime of the certificate; zero means ca.DefaultTTL.
	TTL time.Duration
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	// Log and Metrics may be nil.
	Log     *slog.Logger
	Metrics *ca.Metrics
}

// ServingController maintains the serving certificate of a server that holds no root: key and certificate
// are in one Secret, which that server reads. As with the proxies' Secrets, only the leader writes
// it, and cannot read it.
type ServingController struct {
	cfg ServingConfig

	mu    sync.Mutex
	holds rotation.Secret // as of the last Reconcile
}

// NewServingController returns a controller that knows nothing of its Secret until Reconcile.
func NewServingController(cfg ServingConfig) (*ServingController, error) {
	if cfg.Client == nil || cfg.Authority == nil || cfg.Mesh == "" || cfg.TrustDomain == "" || cfg.Host == "" || cfg.Name == "" || cfg.Label == "" {
		return nil, errors.New("new serving secret: a client, an authority, a mesh name, a trust domain, a host, a name and a label are required")
	}
	cfg.TTL = cmp.Or(cfg.TTL, ca.DefaultTTL)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &ServingController{cfg: cfg}, nil
}

// Evidence returns what the Secret holds, as of the last Reconcile; ok is false while that is not known.
func (s *ServingController) Evidence() (evidence rotation.Secret, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holds, s.holds.Serial != ""
}

// Reconcile makes sure that the Secret exists and is in order, and returns when its certificate is due
// for renewal. The server's clients must already accept trust: a certificate of any other CA is never
// written. The ServiceAccount with the UID owner owns the Secret, if owner is not empty.
func (s *ServingController) Reconcile(ctx context.Context, owner types.UID, trust ca.Trust) (renewAt time.Time, err error) {
	secret, err := probeSecret(ctx, s.cfg.Client, s.probeConfig(), s.cfg.Label, s.cfg.Metrics)
	if err != nil {
		return time.Time{}, fmt.Errorf("serving certificate of %s: %w", s.cfg.Identity, err)
	}
	if secret != nil {
		renewAt, reason := s.fit(secret, owner, trust)
		if reason == nil {
			s.record(secret, trust)
			return renewAt, nil
		}
		s.cfg.Log.Info("replacing serving certificate", "secret", s.object(), "reason", reason.Error())
	}
	return s.write(ctx, owner, trust)
}

func (s *ServingController) object() string { return s.cfg.Identity.Namespace + "/" + s.cfg.Name }

func (s *ServingController) write(ctx context.Context, owner types.UID, trust ca.Trust) (renewAt time.Time, err error) {
	leaf, err := s.cfg.Authority.Issue(ctx, ca.Request{Identity: s.cfg.Identity, DNSNames: []string{s.cfg.Host}, TTL: s.cfg.TTL, Usage: ca.UsageServing})
	if err != nil {
		return time.Time{}, fmt.Errorf("serving certificate of %s: %w", s.cfg.Identity, err)
	}
	if trust.SignerOf(leaf.Chain()) == "" {
		return time.Time{}, fmt.Errorf("serving certificate of %s: the CA that signs now is not in the bundle that its clients trust", s.cfg.Identity)
	}
	secret, err := applySecret(ctx, s.cfg.Client, s.fullConfig(owner, leaf, trust), s.cfg.Metrics)
	if err != nil {
		return time.Time{}, err
	}
	s.record(secret, trust)
	s.cfg.Log.Info("serving certificate written", "secret", s.object(), "serial", leaf.Serial, "notAfter", leaf.NotAfter)
	return renewalOf(leaf), nil
}

func (s *ServingController) record(secret *corev1.Secret, trust ca.Trust) {
	holds := contentsOf(s.cfg.Identity, secret, trust).Secret
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds = holds
}

func (s *ServingController) probeConfig() *applycore.SecretApplyConfiguration {
	return applycore.Secret(s.cfg.Name, s.cfg.Identity.Namespace).
		WithLabels(map[string]string{s.cfg.Label: s.cfg.Mesh}).
		WithType(corev1.SecretTypeTLS)
}

func (s *ServingController) fullConfig(owner types.UID, leaf *ca.Leaf, trust ca.Trust) *applycore.SecretApplyConfiguration {
	config := s.probeConfig().
		WithLabels(map[string]string{api.LabelName: api.NameValue, api.LabelInstance: s.cfg.Mesh}).
		WithData(map[string][]byte{corev1.TLSCertKey: leaf.CertPEM, corev1.TLSPrivateKeyKey: leaf.KeyPEM(), api.CAKeyCert: trust.Bundle})
	return ownedBy(config, Account{Identity: s.cfg.Identity, UID: owner})
}

// fit returns until when the Secret may stay unchanged, or why it has to be replaced at once.
func (s *ServingController) fit(secret *corev1.Secret, owner types.UID, trust ca.Trust) (renewAt time.Time, err error) {
	if !bytes.Equal(secret.Data[api.CAKeyCert], trust.Bundle) {
		return time.Time{}, fmt.Errorf("%s is not the trust bundle", api.CAKeyCert)
	}
	chain, err := chainIn(secret, Account{Identity: s.cfg.Identity, UID: owner})
	if err != nil {
		return time.Time{}, err
	}
	if signer := trust.SignerOf(chain); signer != trust.Fingerprint {
		return time.Time{}, errors.New("a different CA signs now")
	}
	return leafRule{
		names: s.cfg.Identity.SPIFFE(s.cfg.TrustDomain), host: s.cfg.Host, usage: x509.ExtKeyUsageServerAuth, ttl: s.cfg.TTL,
	}.fit(chain, trust, s.cfg.Now().Round(0))
}
