package fleet

import (
	"fmt"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// sotw is an Envoy that asks for the state of the world: each request names everything that it wants, each
// response holds all of that.
type sotw struct {
	holding
	last   [NumKinds]struct{ version, nonce string }
	parsed response // reused
}

func (*sotw) path() string {
	return "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
}

func (s *sotw) forget() {
	s.clear()
	s.last = [NumKinds]struct{ version, nonce string }{}
}

// begin asks for everything that was ever asked for; the version is that of the last response.
func (s *sotw) begin(node string) []outgoing {
	s.kinds[CDS].asked = true
	var out []outgoing
	for _, kind := range order() {
		if !s.kinds[kind].asked {
			continue
		}
		s.last[kind].nonce = ""
		req := s.request(kind)
		if len(out) == 0 {
			req.Node = nodeOf(node)
		}
		out = append(out, encoded(req))
	}
	return out
}

func (s *sotw) request(kind Kind) *discoveryv3.DiscoveryRequest {
	return &discoveryv3.DiscoveryRequest{
		TypeUrl: kind.typeURL(), VersionInfo: s.last[kind].version, ResponseNonce: s.last[kind].nonce, ResourceNames: s.names(kind),
	}
}

func (s *sotw) take(message []byte, changed func(*resource)) (received, []outgoing, error) {
	r := &s.parsed
	if err := parseSotw(message, r); err != nil {
		return received{}, nil, err
	}
	if !byName(r.kind) {
		clear(s.kinds[r.kind].held) // what is not in the response is deleted
	}
	for _, e := range r.resources {
		res, err := s.catalog.resource(r.kind, e)
		if err != nil {
			return received{}, nil, fmt.Errorf("resource %s: %w", e.name, err)
		}
		s.put(res.name, res)
		changed(res)
	}
	s.kinds[r.kind].got = true
	s.last[r.kind].version, s.last[r.kind].nonce = string(r.version), string(r.nonce)
	out := []outgoing{encoded(s.request(r.kind))}
	if r.kind == CDS || r.kind == LDS {
		for _, c := range s.follow() {
			s.kinds[c.kind].asked = true
			out = append(out, encoded(s.request(c.kind)))
		}
	}
	if !s.kinds[LDS].asked && s.warm() {
		s.kinds[LDS].asked = true
		out = append(out, encoded(s.request(LDS)))
	}
	return received{r.kind, len(r.resources), 0}, out, nil
}
