package controller

import (
	"errors"
	"log/slog"
	"os"
	"time"

	"k8s.io/client-go/rest"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

// Config is what osm-controller is started with.
type Config struct {
	// REST is the way to the API server; required.
	REST *rest.Config
	// MeshName and Namespace default to osm and osm-system.
	MeshName, Namespace string
	// TrustDomain defaults to cluster.local.
	TrustDomain identity.TrustDomain
	// CASecret defaults to osm-ca-bundle.
	CASecret string
	// XDSAddress and HTTPAddress default to :15128 and :9091.
	XDSAddress, HTTPAddress string
	// DrainPeriod bounds the way out, from the signal to the end; zero means 20 s.
	DrainPeriod time.Duration
	// Holder names this replica in the Lease; empty means the host's name.
	Holder  string
	Version serve.Version
	// Log is required.
	Log *slog.Logger
	// Level is Log's, for the MeshConfig to change; nil leaves it alone.
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
	set(&c.CASecret, api.CABundleSecret)
	set(&c.XDSAddress, ":15128")
	set(&c.HTTPAddress, ":9091")
	if c.Holder == "" {
		// Without a host name the replica cannot tell itself from others: Lease.Run says so.
		c.Holder, _ = os.Hostname()
	}
	if c.DrainPeriod == 0 {
		c.DrainPeriod = 20 * time.Second
	}
	return c
}

// Validate says what is missing.
func (c Config) Validate() error {
	if c.REST == nil || c.Log == nil {
		return errors.New("controller: the way to the API server and a log are required")
	}
	if c.DrainPeriod < 0 {
		return errors.New("controller: --drain-period must not be negative")
	}
	return nil
}
