package xds

import (
	"cmp"
	"slices"
	"time"

	"github.com/osm-edge/osm/pkg/api/debug"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

const (
	// fewNames and messageLimit bound what is shown of a refusal.
	fewNames     = 20
	messageLimit = 1000
)

// Debug describes all streams, sorted by pod. It looks at one stream after another and stops none.
func (s *Server) Debug() debug.XDS {
	streams := s.all()
	d := debug.XDS{Proxies: make([]debug.Proxy, 0, len(streams))}
	for _, st := range streams {
		d.Proxies = append(d.Proxies, st.report())
	}
	slices.SortFunc(d.Proxies, func(a, b debug.Proxy) int { return cmp.Or(cmp.Compare(a.Pod, b.Pod), a.Since.Compare(b.Since)) })
	return d
}

func (st *stream) report() debug.Proxy {
	p := debug.Proxy{Pod: st.peer.pod.String(), Identity: st.peer.identity.String(), Variant: st.variant, Since: st.since}
	if at := st.expires.Load(); at != 0 {
		expires := time.Unix(at, 0).UTC()
		p.CertificateExpires = &expires
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	p.Types = st.protocol.report()
	return p
}

// EarliestExpiry is when the first workload certificate of a connected proxy expires, and whose it
// is; ok is false when no proxy has one.
func (s *Server) EarliestExpiry() (at time.Time, pod mesh.PodName, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := int64(0)
	for st := range s.streams {
		if expires := st.expires.Load(); expires != 0 && (first == 0 || expires < first) {
			first, pod = expires, st.peer.pod
		}
	}
	return time.Unix(first, 0).UTC(), pod, first != 0
}

func (d *deltaSession) report() []debug.Type {
	var all []debug.Type
	for typ := range envoy.NumKinds {
		if t := &d.types[typ]; t.asked {
			all = append(all, debug.Type{
				Type: typ.String(), Wildcard: t.wildcard, Names: len(t.names.all()), Version: t.held.version(),
				Awaiting: t.awaiting != 0, LastPush: known(t.pushed), Rejected: t.refusals.report(),
			})
		}
	}
	return all
}

func (d *deltaSession) rejected() int {
	n := 0
	for typ := range envoy.NumKinds {
		n += d.types[typ].refusals.size()
	}
	return n
}

func (s *sotwSession) report() []debug.Type {
	var all []debug.Type
	for typ := range envoy.NumKinds {
		if t := &s.types[typ]; t.asked {
			all = append(all, debug.Type{
				Type: typ.String(), Wildcard: t.wildcard, Names: len(t.names.all()), Version: t.held.version(),
				Awaiting: t.awaiting, LastPush: known(t.pushed), Rejected: t.refusals.report(),
			})
		}
	}
	return all
}

func (s *sotwSession) rejected() int {
	n := 0
	for typ := range envoy.NumKinds {
		n += s.types[typ].refusals.size()
	}
	return n
}

func (rs *refusals) report() []debug.Rejection {
	var all []debug.Rejection
	for _, r := range *rs {
		names := r.names()
		all = append(all, debug.Rejection{Resources: few(names), Count: len(names), Message: short(r.message, messageLimit), At: r.at.UTC(), Times: r.count})
	}
	return all
}

func few(names []string) []string { return names[:min(len(names), fewNames)] }

func known(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.UTC()
	return &at
}
