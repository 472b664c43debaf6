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
	// maxNames and messageLimit bound what is shown of a rejection.
	maxNames     = 20
	messageLimit = 1000
)

// Debug describes all streams, sorted by pod. It locks one stream at a time.
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
	p := debug.Proxy{Pod: st.peer.pod.String(), Identity: st.peer.identity.String(), Variant: st.variant, Since: st.since, ProxyVersion: st.release}
	if at := st.expires.Load(); at != 0 {
		expires := time.Unix(at, 0).UTC()
		p.CertificateExpires = &expires
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	p.Types = st.protocol.report()
	return p
}

// EarliestExpiry returns when the first workload certificate of a connected proxy expires, and the pod; ok
// is false when no proxy has one.
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
				Awaiting: t.awaiting != 0, LastPush: optionalTime(t.pushed), Rejected: t.rejections.report(),
			})
		}
	}
	return all
}

func (d *deltaSession) rejected() int {
	n := 0
	for typ := range envoy.NumKinds {
		n += d.types[typ].rejections.size()
	}
	return n
}

func (s *sotwSession) report() []debug.Type {
	var all []debug.Type
	for typ := range envoy.NumKinds {
		if t := &s.types[typ]; t.asked {
			all = append(all, debug.Type{
				Type: typ.String(), Wildcard: t.wildcard, Names: len(t.names.all()), Version: t.held.version(),
				Awaiting: t.awaiting, LastPush: optionalTime(t.pushed), Rejected: t.rejections.report(),
			})
		}
	}
	return all
}

func (s *sotwSession) rejected() int {
	n := 0
	for typ := range envoy.NumKinds {
		n += s.types[typ].rejections.size()
	}
	return n
}

func (rs *rejections) report() []debug.Rejection {
	var all []debug.Rejection
	for _, r := range *rs {
		names := r.names()
		all = append(all, debug.Rejection{Resources: firstNames(names), Count: len(names), Message: truncate(r.message, messageLimit), At: r.at.UTC(), Times: r.count})
	}
	return all
}

func firstNames(names []string) []string { return names[:min(len(names), maxNames)] }

func optionalTime(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.UTC()
	return &at
}
