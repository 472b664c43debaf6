package ca

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// Limits of the lifetime of a leaf.
const (
	// DefaultTTL is the lifetime of a leaf whose request names none.
	DefaultTTL = 24 * time.Hour
	// Backdate is how far NotBefore lies before the time of issue, so that peers whose clock is behind
	// accept a new leaf.
	Backdate = 5 * time.Minute
	// minLifetime is the shortest lifetime worth signing. A root with less left has expired in effect.
	minLifetime = time.Second
	// maxDNSName is the longest DNS name. A longer common name stays out of the DNS SANs.
	maxDNSName = 253
)

// Authority issues certificates. Issuer is the built-in one; packages vault and certmanager have theirs.
type Authority interface {
	// Issue returns a new leaf. Providers may shorten its lifetime.
	Issue(ctx context.Context, req Request) (*Leaf, error)
	// Trust returns what peers need to verify what Issue returns.
	Trust() Trust
}

// Usage is the purpose of a leaf. It selects the extended key usage and labels the metric.
type Usage string

// The usages.
const (
	// UsageService is a workload's certificate between proxies: TLS server and client.
	UsageService Usage = "service"
	// UsageProxy is the certificate that a proxy presents to the control plane: TLS client only, so
	// that it cannot serve as the workload.
	UsageProxy Usage = "proxy"
	// UsageServing is a server certificate of the control plane: TLS server only.
	UsageServing Usage = "serving"
)

// Request asks for a leaf.
type Request struct {
	// Identity becomes the common name, a DNS SAN and the SPIFFE URI SAN.
	Identity identity.Identity
	// DNSNames are further DNS SANs.
	DNSNames []string
	// Addresses are IP SANs.
	Addresses []net.IP
	// TTL is the lifetime from now on; zero means DefaultTTL. The leaf expires with the root at the latest.
	TTL time.Duration
	// Usage selects the extended key usage; it is required.
	Usage Usage
	// KeyBits asks for an RSA key of that size; zero means ECDSA P-256.
	KeyBits int
}

// extKeyUsage maps a usage to TLS.
func extKeyUsage(usage Usage) ([]x509.ExtKeyUsage, error) {
	switch usage {
	case UsageService:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, nil
	case UsageProxy:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, nil
	case UsageServing:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, nil
	}
	return nil, fmt.Errorf("usage %q: want %q, %q or %q", usage, UsageService, UsageProxy, UsageServing)
}
