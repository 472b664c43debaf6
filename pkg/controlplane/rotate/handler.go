package rotate

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/rotation"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
)

// Path is where a replica tells what it has.
const Path = "/evidence"

// Handler answers the mesh's controllers, and nobody else: names of pods and certificates are not
// for the whole cluster. It belongs behind a server that demands client certificates. A connection may be
// older than what is trusted now, or outlive its certificate: each request is judged anew.
func Handler(namespace string, domain identity.TrustDomain, trust func() ca.Trust, own func(context.Context) rotation.Replica) http.Handler {
	allowed := identity.Identity{Namespace: namespace, ServiceAccount: api.AppController}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path, func(w http.ResponseWriter, r *http.Request) {
		who, until, err := ca.ClientIdentity(r.TLS, domain)
		now := time.Now()
		if err == nil && (!now.Before(until) || !trust().Anchors().Vouch(r.TLS.VerifiedChains, now)) {
			w.Header().Set("Connection", "close")
			http.Error(w, "the client certificate is no longer good: connect again", http.StatusUnauthorized)
			return
		}
		if err != nil || who != allowed {
			http.Error(w, "evidence is for the mesh's controllers only", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(own(r.Context())) // the client has gone: it will ask again
	})
	return mux
}

// Provider is what a replica knows of its roots; *provider.Provider is one.
type Provider interface {
	Loaded() (roots []rotation.Loaded, problems map[string]string)
	Serving(ctx context.Context) (fingerprint string, err error)
}

// Basics is what a controller reports, beside the name and the time in self. add fills in
// the rest; it runs between two looks at the roots, which have to agree: what is reported is then of
// these roots.
func Basics(ctx context.Context, self rotation.Replica, roots Provider, signer func() string, add func(*rotation.Replica)) rotation.Replica {
	serving, err := roots.Serving(ctx)
	if err != nil {
		self.Error = err.Error()
		return self
	}
	self.Roots, _ = roots.Loaded()
	self.Signer, self.Serving = signer(), serving
	if add != nil {
		add(&self)
	}
	if after, _ := roots.Loaded(); !slices.Equal(after, self.Roots) || signer() != self.Signer {
		self.Error = "its roots are changing at the moment"
	}
	return self
}
