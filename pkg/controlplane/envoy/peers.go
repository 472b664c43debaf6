package envoy

import (
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/policy"
)

// acceptedNames are the names of which a peer's certificate must have one. Nothing else in this
// package says whose certificate is accepted, and it follows from the Principals alone.
func acceptedNames(td identity.TrustDomain, peers policy.Principals) []*tlsv3.SubjectAltNameMatcher {
	return policy.VisitPrincipals(peers, nameMatchers{td})
}

// nameMatchers writes each kind of Principals as matchers of SPIFFE ids.
type nameMatchers struct{ td identity.TrustDomain }

// Nobody matches a name that no certificate has: an empty list would mean "any name" to Envoy.
func (m nameMatchers) Nobody() []*tlsv3.SubjectAltNameMatcher {
	return []*tlsv3.SubjectAltNameMatcher{exactName("spiffe://" + string(m.td) + "/nobody")}
}

// AnyWorkload matches all names that start as a workload's does.
func (m nameMatchers) AnyWorkload() []*tlsv3.SubjectAltNameMatcher {
	prefix := &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "spiffe://" + string(m.td) + "/ns/"}}
	return []*tlsv3.SubjectAltNameMatcher{{SanType: tlsv3.SubjectAltNameMatcher_URI, Matcher: prefix}}
}

// Only matches each identity's name as a whole.
func (m nameMatchers) Only(identities []identity.Identity) []*tlsv3.SubjectAltNameMatcher {
	names := make([]*tlsv3.SubjectAltNameMatcher, len(identities))
	for i, id := range identities {
		names[i] = exactName(id.SPIFFE(m.td))
	}
	return names
}

func exactName(uri string) *tlsv3.SubjectAltNameMatcher {
	return &tlsv3.SubjectAltNameMatcher{
		SanType: tlsv3.SubjectAltNameMatcher_URI,
		Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: uri}},
	}
}
