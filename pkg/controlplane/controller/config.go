package controller

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/provider"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
	"github.com/osm-edge/osm/pkg/controlplane/xds"
)

// The range of the drain period. A shorter one would leave no time to send proxies away one after another; a
// longer one would hold up every update and every node drain.
const minDrain, maxDrain = 5 * time.Second, 5 * time.Minute

// Config configures osm-controller.
type Config struct {
	// REST is the way to the API server; required.
	REST *rest.Config
	// MeshName and Namespace default to osm and osm-system.
	MeshName, Namespace string
	// TrustDomain defaults to cluster.local.
	TrustDomain identity.TrustDomain
	// ClusterDomain ends the names of the cluster's Services; defaults to cluster.local.
	ClusterDomain string
	// Provider says who signs certificates; the zero value is Tresor.
	Provider provider.Flags
	// XDSAddress and HTTPAddress default to :15128 and :9091.
	XDSAddress, HTTPAddress string
	// DebugAddress serves debug pages and profiles; empty for nowhere. It must be a loopback address.
	DebugAddress string
	// EvidenceAddress is where the leader asks for what a rotation of the root waits for; empty for
	// nowhere, which blocks every rotation.
	EvidenceAddress string
	// Limits bound what one proxy may take; zero fields have defaults.
	Limits xds.Limits
	// SecretDelivery is how long the kubelet may take to update a mounted Secret in a running pod; zero
	// means 3 minutes. Each phase of a rotation waits that long.
	SecretDelivery time.Duration
	// DrainPeriod bounds the shutdown, from the signal to the end: minDrain to maxDrain; zero means 20 s.
	DrainPeriod time.Duration
	// Rebalance moves proxies after the number of replicas has grown; the zero value moves none.
	Rebalance Rebalance
	// Sidecars bounds what peers can make the mesh's sidecars hold; zero fields have defaults.
	Sidecars mesh.Limits
	// Holder names this replica in the Lease; empty means the host's name.
	Holder  string
	Version serve.Version
	// Health and Metrics are what HTTPAddress shows; nil means new ones.
	Health  *serve.Health
	Metrics *prometheus.Registry
	// Log is required.
	Log *slog.Logger
	// Level is the level of Log, which the MeshConfig may change; nil leaves it alone.
	Level *serve.LogLevel
}

func (c Config) withDefaults() Config {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&c.MeshName, api.DefaultMeshName)
	set(&c.Namespace, api.DefaultNamespace)
	set((*string)(&c.TrustDomain), api.DefaultDomain)
	set(&c.ClusterDomain, api.DefaultDomain)
	set(&c.XDSAddress, ":15128")
	set(&c.HTTPAddress, ":9091")
	if c.Holder == "" {
		// Without a host name a replica has no name of its own: Lease.Run returns an error then.
		c.Holder, _ = os.Hostname()
	}
	if c.SecretDelivery == 0 {
		c.SecretDelivery = 3 * time.Minute
	}
	if c.DrainPeriod == 0 {
		c.DrainPeriod = 20 * time.Second
	}
	return c
}

// Validate reports what is missing or out of range.
func (c Config) Validate() error {
	if c.REST == nil || c.Log == nil {
		return errors.New("controller: REST and Log are required")
	}
	if c.DebugAddress != "" && !loopback(c.DebugAddress) {
		return fmt.Errorf("controller: --debug-address %s: want host:port with a loopback host, such as 127.0.0.1:%d: profiles and pod names must not be visible to the whole cluster", c.DebugAddress, api.PortDebug)
	}
	if c.SecretDelivery < 0 {
		return errors.New("controller: --secret-delivery must not be negative")
	}
	if c.DrainPeriod < minDrain || c.DrainPeriod > maxDrain {
		return fmt.Errorf("controller: --drain-period %s: want %s to %s; fix: --drain-period=20s, in the chart osm.osmController.drainSeconds=20", c.DrainPeriod, minDrain, maxDrain)
	}
	if err := errors.Join(c.Limits.Validate(), validateSidecars(c.Sidecars), c.Rebalance.Validate()); err != nil {
		return fmt.Errorf("controller: %w", err)
	}
	return c.Provider.Validate()
}

// loopback reports whether only this pod can reach the address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip, parseErr := netip.ParseAddr(host)
	return err == nil && (host == "localhost" || parseErr == nil && ip.IsLoopback())
}
