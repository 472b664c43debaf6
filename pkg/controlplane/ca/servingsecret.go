package ca

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
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
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// ServingSecretConfig says whose certificate a ServingSecret keeps, and where.
type ServingSecretConfig struct {
	// Client, Authority, Mesh and TrustDomain are required.
	Client      kubernetes.Interface
	Authority   Authority
	Mesh        string
	TrustDomain identity.TrustDomain
	// Identity is whom the certificate names; the Secret is in its namespace. Required, as what follows.
	Identity identity.Identity
	// Host is the DNS name by which clients know the server.
	Host string
	// Name is the Secret's; Label marks it as the mesh's, with the mesh's name as the value.
	Name, Label string
	// TTL is the certificate's life; zero means DefaultTTL.
	TTL time.Duration
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	// Log and Metrics may be nil.
	Log     *slog.Logger
	Metrics *Metrics
}

// ServingSecret keeps the serving certificate of a server that holds no root of its own: key and
// certificate are in one Secret, which that server reads. As with the proxies' Secrets, only the
// holder of the Lease writes it, and cannot read it.
type ServingSecret struct {
	cfg ServingSecretConfig

	mu    sync.Mutex
	holds SecretEvidence // as of the last Keep
}

// NewServingSecret returns one that knows nothing of its Secret until Keep.
func NewServingSecret(cfg ServingSecretConfig) (*ServingSecret, error) {
	if cfg.Client == nil || cfg.Authority == nil || cfg.Mesh == "" || cfg.TrustDomain == "" || cfg.Host == "" || cfg.Name == "" || cfg.Label == "" {
		return nil, errors.New("new serving secret: a client, an authority, a mesh name, a trust domain, a host, a name and a label are required")
	}
	cfg.TTL = cmp.Or(cfg.TTL, DefaultTTL)
	cfg.Now, cfg.Log = clock(cfg.Now), logger(cfg.Log)
	return &ServingSecret{cfg: cfg}, nil
}

// Evidence tells what the Secret holds, as of the last Keep; ok is false while that is not known.
func (s *ServingSecret) Evidence() (evidence SecretEvidence, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holds, s.holds.Serial != ""
}

// Keep makes the Secret exist and be fit, and returns when its certificate is due. The caller has made
// the server's clients accept trust: a certificate of any other CA is never written. The Secret
// belongs to the ServiceAccount with the uid owner, if there is one.
func (s *ServingSecret) Keep(ctx context.Context, owner types.UID, trust Trust) (renewAt time.Time, err error) {
	secret, err := probeSecret(ctx, s.cfg.Client, s.probeConfig(), s.cfg.Label, s.cfg.Metrics)
	if err != nil {
		return time.Time{}, fmt.Errorf("serving certificate of %s: %w", s.cfg.Identity, err)
	}
	if secret != nil {
		renewAt, unfit := s.fit(secret, owner, trust)
		if unfit == nil {
			s.note(secret, trust)
			return renewAt, nil
		}
		s.cfg.Log.Info("serving certificate to be replaced", "secret", s.object(), "reason", unfit.Error())
	}
	return s.write(ctx, owner, trust)
}

func (s *ServingSecret) object() string { return s.cfg.Identity.Namespace + "/" + s.cfg.Name }

func (s *ServingSecret) write(ctx context.Context, owner types.UID, trust Trust) (renewAt time.Time, err error) {
	leaf, err := s.cfg.Authority.Issue(ctx, Request{Identity: s.cfg.Identity, DNSNames: []string{s.cfg.Host}, TTL: s.cfg.TTL, Usage: UsageServing})
	if err != nil {
		return time.Time{}, fmt.Errorf("serving certificate of %s: %w", s.cfg.Identity, err)
	}
	if trust.SignerOf(leaf.chain) == "" {
		return time.Time{}, fmt.Errorf("serving certificate of %s: another CA signs now than those that its clients were told to trust", s.cfg.Identity)
	}
	secret, err := applySecret(ctx, s.cfg.Client, s.fullConfig(owner, leaf, trust), s.cfg.Metrics)
	if err != nil {
		return time.Time{}, err
	}
	s.note(secret, trust)
	s.cfg.Log.Info("serving certificate written", "secret", s.object(), "serial", leaf.Serial, "notAfter", leaf.NotAfter)
	return renewalOf(leaf), nil
}

func (s *ServingSecret) note(secret *corev1.Secret, trust Trust) {
	holds := evidenceOf(s.cfg.Identity, secret, trust)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds = holds
}

func (s *ServingSecret) probeConfig() *applycore.SecretApplyConfiguration {
	return applycore.Secret(s.cfg.Name, s.cfg.Identity.Namespace).
		WithLabels(map[string]string{s.cfg.Label: s.cfg.Mesh}).
		WithType(corev1.SecretTypeTLS)
}

func (s *ServingSecret) fullConfig(owner types.UID, leaf *Leaf, trust Trust) *applycore.SecretApplyConfiguration {
	config := s.probeConfig().
		WithLabels(map[string]string{api.LabelName: api.NameValue, api.LabelInstance: s.cfg.Mesh}).
		WithData(map[string][]byte{corev1.TLSCertKey: leaf.CertPEM, corev1.TLSPrivateKeyKey: leaf.KeyPEM(), api.CAKeyCert: trust.Bundle})
	return ownedBy(config, Account{Identity: s.cfg.Identity, UID: owner})
}

// fit says until when the Secret may stay as it is, or why it has to be replaced at once.
func (s *ServingSecret) fit(secret *corev1.Secret, owner types.UID, trust Trust) (renewAt time.Time, err error) {
	if !bytes.Equal(secret.Data[api.CAKeyCert], trust.Bundle) {
		return time.Time{}, fmt.Errorf("%s is not the trust bundle", api.CAKeyCert)
	}
	chain, err := chainIn(secret, Account{Identity: s.cfg.Identity, UID: owner})
	if err != nil {
		return time.Time{}, err
	}
	if signer := trust.SignerOf(chain); signer != trust.Fingerprint {
		return time.Time{}, errors.New("another CA signs now")
	}
	return leafRule{
		names: s.cfg.Identity.SPIFFE(s.cfg.TrustDomain), host: s.cfg.Host, usage: x509.ExtKeyUsageServerAuth, ttl: s.cfg.TTL,
	}.fit(chain, trust, s.cfg.Now().Round(0))
}

// Served is a serving certificate as its server reads it from the Secret. It is immutable.
type Served struct {
	// Certificate has its Leaf parsed.
	Certificate tls.Certificate
	// Trust is the bundle beside it; the fingerprint is that of the CA that signed the certificate.
	Trust Trust
}

// ParseServed reads the data of a ServingSecret. It refuses what clients would not accept for the host.
func ParseServed(data map[string][]byte, host string, now time.Time) (*Served, error) {
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	chain, err := parseProvided(data[corev1.TLSCertKey])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", corev1.TLSCertKey, err)
	}
	trust := Trust{Bundle: data[api.CAKeyCert]}
	_, err = chain[0].Verify(x509.VerifyOptions{
		DNSName: host, Roots: trust.Pool(), Intermediates: poolOf(chain[1:]), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", corev1.TLSCertKey, err)
	}
	trust.Fingerprint = trust.SignerOf(chain)
	if signer := certificatesIn(trust.Bundle)[trust.Fingerprint]; signer != nil {
		trust.NotAfter = signer.NotAfter
	}
	pair.Leaf = chain[0]
	return &Served{Certificate: pair, Trust: trust}, nil
}
