package xds

import (
	"slices"
	"strconv"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// sotwSession is the state of one state-of-the-world stream. Every response carries all resources
// that the proxy asked for; its version is the hash of their content.
type sotwSession struct {
	types  [numTypes]sotwType
	nonces uint64
	// clusters is the version of each cluster in the last response of that type.
	clusters map[string]string
}

type sotwType struct {
	asked    bool
	wildcard bool
	names    []string // sorted
	// sent is the version and names of the last response; a rejected one is not sent again.
	sent      string
	sentNames []string
	nonce     string
	awaiting  bool
}

func (s *sotwSession) handle(req *discoveryv3.DiscoveryRequest) *rejection {
	typ, ok := typeOf(req.GetTypeUrl())
	if !ok {
		return nil
	}
	t := &s.types[typ]
	if req.GetResponseNonce() != "" && req.GetResponseNonce() != t.nonce {
		return nil // about a response that a newer one has replaced
	}
	names := slices.Sorted(slices.Values(req.GetResourceNames()))
	names = slices.Compact(names)
	explicitAll := slices.Contains(names, wildcardName)
	switch {
	case !t.asked:
		t.wildcard = explicitAll || typ.mayBeWildcard() && len(names) == 0
	case len(names) > 0:
		// Once names were given, their absence means "nothing", never again "everything".
		t.wildcard = explicitAll
	}
	t.asked = true
	t.names = slices.DeleteFunc(names, func(name string) bool { return name == wildcardName })
	if req.GetResponseNonce() == "" {
		return nil
	}
	t.awaiting = false
	if detail := req.GetErrorDetail(); detail != nil {
		return &rejection{typ: typ, resources: t.sentNames, message: detail.GetMessage()}
	}
	return nil
}

// next returns the next response to send, or nil.
func (s *sotwSession) next(o offer) *discoveryv3.DiscoveryResponse {
	for typ := range numTypes {
		t := &s.types[typ]
		if !t.asked || t.awaiting {
			continue
		}
		resources := t.wanted(typ, o)
		version := envoy.VersionOf(resources)
		if t.nonce != "" && version == t.sent || t.nonce == "" && len(resources) == 0 && !t.wildcard {
			continue
		}
		return s.respond(typ, version, resources)
	}
	return nil
}

func (t *sotwType) wanted(typ resourceType, o offer) []*envoy.Resource {
	if t.wildcard {
		return o.all(typ)
	}
	var resources []*envoy.Resource
	for _, name := range t.names {
		if r := o.named(typ, name); r != nil {
			resources = append(resources, r)
		}
	}
	return resources
}

func (s *sotwSession) respond(typ resourceType, version string, resources []*envoy.Resource) *discoveryv3.DiscoveryResponse {
	t := &s.types[typ]
	s.nonces++
	t.nonce, t.sent, t.awaiting = strconv.FormatUint(s.nonces, 10), version, true
	if typ == clusters {
		s.resendEndpoints(resources)
	}
	resp := &discoveryv3.DiscoveryResponse{TypeUrl: typeURLs[typ], VersionInfo: version, Nonce: t.nonce}
	t.sentNames = t.sentNames[:0:0]
	for _, r := range resources {
		resp.Resources = append(resp.Resources, r.Body)
		t.sentNames = append(t.sentNames, r.Name)
	}
	return resp
}

// settled says whether the proxy answered everything that it was sent.
func (s *sotwSession) settled() bool {
	for typ := range numTypes {
		if s.types[typ].awaiting {
			return false
		}
	}
	return true
}

// configured says whether the proxy asked for its listeners and answered all that it was sent.
func (s *sotwSession) configured() bool { return s.types[listeners].asked && s.settled() }

// resendEndpoints makes the endpoints go out again after a cluster changed: Envoy warms a changed
// cluster anew and waits for them.
func (s *sotwSession) resendEndpoints(now []*envoy.Resource) {
	before := s.clusters
	s.clusters = make(map[string]string, len(now))
	for _, r := range now {
		s.clusters[r.Name] = r.Version
		if version, known := before[r.Name]; known && version != r.Version {
			s.types[endpoints].sent = ""
		}
	}
}
