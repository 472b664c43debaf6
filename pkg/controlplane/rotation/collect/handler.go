package collect

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// Path is where a replica serves its evidence.
const Path = "/evidence"

// Pages are what a replica tells other replicas, by path. Each returns what is encoded as JSON.
type Pages map[string]func(context.Context) any

// Handler serves pages to the mesh's controllers and to no other client: names of pods and certificates
// are not for the whole cluster to see. Its server must require client certificates. Every request is
// authenticated again, since a connection may outlive its certificate or the trust in its CA.
func Handler(namespace string, domain identity.TrustDomain, trust func() ca.Trust, pages Pages) http.Handler {
	allowed := identity.Identity{Namespace: namespace, ServiceAccount: api.AppController}
	mux := http.NewServeMux()
	for path, page := range pages {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			who, until, err := ca.ClientIdentity(r.TLS, domain)
			now := time.Now()
			if err == nil && (!now.Before(until) || !trust().Anchors().Vouch(r.TLS.VerifiedChains, now)) {
				w.Header().Set("Connection", "close")
				http.Error(w, "the client certificate is no longer valid: connect again", http.StatusUnauthorized)
				return
			}
			if err != nil || who != allowed {
				http.Error(w, "this is for the mesh's controllers only", http.StatusForbidden)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(page(r.Context())) // the client has disconnected: it will ask again
		})
	}
	return mux
}

// Roots are the roots of a replica; *provider.Provider implements it.
type Roots interface {
	// Loaded returns the roots in use, and why other roots are not loaded, by name.
	Loaded() (roots []rotation.Loaded, problems map[string]string)
	// RefreshServing renews stale serving certificates and returns the fingerprint of their CA.
	RefreshServing(ctx context.Context) (fingerprint string, err error)
}

// Replica completes the evidence of a controller, whose name and time are in self. add fills in the
// rest. The roots are read before and after add: if they differ, the evidence is an error.
func Replica(ctx context.Context, self rotation.Replica, roots Roots, signer func() string, add func(*rotation.Replica)) rotation.Replica {
	serving, err := roots.RefreshServing(ctx)
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
		self.Error = "its roots are currently changing"
	}
	return self
}
