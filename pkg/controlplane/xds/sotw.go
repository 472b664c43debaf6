package xds

import (
	"slices"
	"strconv"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// sotwSession is the state of one state-of-the-world stream. Every response carries all resources
// that the proxy asked for; its version is a digest of their content.
type sotwSession struct {
	lists  *nameLists
	types  [envoy.NumKinds]sotwType
	nonces uint64
}

type sotwType struct {
	asked    bool
	wildcard bool
	named    bool      // names were given at least once
	names    *nameList // the explicit subscription
	// held is what the proxy was last brought to; a rejected version counts as held. dirty says that there
	// is something to send whatever held says.
	held  layers
	dirty bool
	// linger are clusters and endpoints that no longer exist. They are still sent until everything that may
	// refer to them was replaced: absence of a cluster means removal.
	linger []*envoy.Resource
	// fresh are endpoints that were asked for since the last response. If there are none (a cluster came
	// and went) they are sent once, empty: Envoy answers nothing about clusters while it waits for them.
	fresh []string

	nonce      uint64 // of the last response
	awaiting   bool   // it is not answered yet
	sent       sent
	pushed     time.Time
	rejections rejections
}

func (t *sotwType) wants(name string) bool { return t.wildcard || t.names.has(name) }

// handle applies a request and returns what it says about the last response, if it answers that.
func (s *sotwSession) handle(req *discoveryv3.DiscoveryRequest, o offer, now time.Time) ack {
	typ, ok := envoy.KindOf(req.GetTypeUrl())
	if !ok {
		return ack{}
	}
	t := &s.types[typ]
	nonce := req.GetResponseNonce()
	if nonce != "" && nonce != strconv.FormatUint(t.nonce, 10) {
		return ack{} // it answers a response that a newer one replaced
	}
	before, wildcard := t.names, t.wildcard
	s.subscribe(t, typ, req.GetResourceNames(), o.layers(typ))
	if nonce == "" || !t.awaiting {
		return ack{}
	}
	what := t.sent
	t.awaiting, t.sent = false, sent{}
	// A response carries everything, so its answer replaces earlier ones.
	if detail := req.GetErrorDetail(); detail != nil {
		r := t.rejections.reject(what, detail.GetMessage(), now, t.wants)
		t.rejections = rejections{r}
		return ack{typ: typ, rejection: r}
	}
	t.rejections = nil
	return ack{typ: typ, accepted: true, changed: before != t.names || wildcard != t.wildcard, carried: what}
}

// subscribe applies the whole subscription, which every request repeats.
func (s *sotwSession) subscribe(t *sotwType, typ envoy.Kind, names []string, now layers) {
	before, first := t.names, !t.asked
	t.asked, t.named = true, t.named || len(names) > 0
	t.names = s.lists.of(slices.Clone(names))
	// Once names were given, their absence means "nothing" and no longer "everything".
	all := slices.Contains(names, wildcardName) || mayBeWildcard(typ) && !t.named
	if all && !t.wildcard {
		t.dirty = true
	}
	t.wildcard = all
	if before == t.names {
		t.dirty = t.dirty || first && mayBeWildcard(typ)
		return
	}
	t.fresh = slices.DeleteFunc(t.fresh, func(name string) bool { return !t.names.has(name) })
	for _, name := range t.names.all() {
		// What is asked for again is sent again: the proxy may have dropped it. For clusters and
		// listeners, a response without a name means that it does not exist.
		if before.has(name) {
			continue
		}
		if typ == envoy.Endpoints {
			t.fresh = append(t.fresh, name)
		}
		if typ == envoy.Endpoints || mayBeWildcard(typ) || now.named(name) != nil || t.held.named(name) != nil {
			t.dirty = true
		}
	}
	t.rejections.drop(t.wants)
}

// unborn returns empty assignments for endpoints that were asked for and do not exist.
func (t *sotwType) unborn() []*envoy.Resource {
	var empty []*envoy.Resource
	for _, name := range t.fresh {
		if t.offered(name) != nil {
			continue
		}
		r, err := envoy.NewResource(name, &endpointv3.ClusterLoadAssignment{ClusterName: name})
		if err == nil { // otherwise it cannot be a cluster's name
			empty = append(empty, r)
		}
	}
	return empty
}

// next returns the next response to send, or nil. Removed clusters are dropped last.
func (s *sotwSession) next(o offer, now time.Time) *response {
	quiet := true
	for typ := range envoy.NumKinds {
		t := &s.types[typ]
		switch {
		case !t.asked || !o.ready(typ):
		case t.awaiting:
			quiet = false
		case s.changed(typ, o.layers(typ)):
			return s.respond(typ, now)
		}
	}
	if !quiet {
		return nil
	}
	s.types[envoy.Endpoints].linger = nil
	if t := &s.types[envoy.Clusters]; t.linger != nil {
		t.linger = nil
		return s.respond(envoy.Clusters, now)
	}
	return nil
}

// changed updates held and reports whether a response must be sent.
func (s *sotwSession) changed(typ envoy.Kind, now layers) bool {
	t := &s.types[typ]
	tell, before := t.dirty, t.held
	if before == now {
		t.dirty = false
		return tell
	}
	for _, diff := range now.since(before) {
		if diff == nil {
			continue
		}
		for _, r := range diff.Changed {
			was := t.offered(r.Name)
			if !t.wants(r.Name) || was != nil && was.Version == r.Version { // it moved to the other layer
				continue
			}
			tell = true
			if typ == envoy.Clusters && was != nil && s.types[envoy.Endpoints].wants(r.Name) {
				s.types[envoy.Endpoints].dirty = true // Envoy warms a changed cluster from scratch and waits for them
			}
		}
		for _, name := range diff.Removed {
			switch {
			case !t.wants(name) || now.named(name) != nil:
			case typ == envoy.Clusters || typ == envoy.Endpoints:
				t.linger = append(t.linger, before.named(name))
			case typ == envoy.Listeners:
				tell = true
			}
		}
	}
	t.linger = without(t.linger, func(name string) bool { return now.named(name) != nil })
	t.held, t.dirty = now, false
	return tell
}

// offered returns what the proxy was last sent under a name, nil for nothing.
func (t *sotwType) offered(name string) *envoy.Resource {
	for _, r := range t.linger {
		if r.Name == name {
			return r
		}
	}
	return t.held.named(name)
}

// respond returns a response with everything that the proxy wants of a kind.
func (s *sotwSession) respond(typ envoy.Kind, now time.Time) *response {
	t := &s.types[typ]
	s.nonces++
	t.nonce, t.awaiting, t.pushed = s.nonces, true, now
	resp := &response{typ: typ}
	var version string
	t.sent, version = t.content()
	for _, part := range t.sent.parts {
		resp.addEach(part, (*envoy.Resource).StateOfTheWorld)
	}
	resp.field(fieldVersionInfo, version)
	return resp.finish(s.nonces)
}

// content returns everything that the proxy wants, and its version.
func (t *sotwType) content() (sent, string) {
	unborn := t.unborn()
	t.fresh = nil
	if t.wildcard && len(t.linger)+len(unborn) == 0 {
		what := sent{}
		for i, set := range t.held {
			if set != nil {
				what.parts[i] = set.All()
			}
		}
		return what, t.held.version()
	}
	var all []*envoy.Resource
	for _, set := range t.held {
		if set != nil {
			all = append(all, set.All()...)
		}
	}
	all = slices.DeleteFunc(joined(all, t.linger, unborn), func(r *envoy.Resource) bool { return !t.wants(r.Name) })
	all = slices.CompactFunc(all, func(a, b *envoy.Resource) bool { return a.Name == b.Name })
	return sent{parts: [2][]*envoy.Resource{all}}, envoy.VersionOf(all)
}

// lacks reports whether the proxy will be sent the resource. In this variant it is all or nothing.
func (s *sotwSession) lacks(typ envoy.Kind, name string, _ offer) bool {
	return s.types[typ].dirty && s.types[typ].wants(name)
}

// settled reports whether the proxy answered everything it was sent.
func (s *sotwSession) settled() bool {
	for typ := range envoy.NumKinds {
		if s.types[typ].awaiting {
			return false
		}
	}
	return true
}

// configured reports whether the proxy asked for its listeners and answered everything it was sent.
func (s *sotwSession) configured() bool { return s.types[envoy.Listeners].asked && s.settled() }

func (s *sotwSession) remembers() (names, bytes int) {
	for typ := range envoy.NumKinds {
		t := &s.types[typ]
		names += len(t.names.all())
		bytes += t.names.bytes() + len(t.fresh)*stringSize
	}
	return names, bytes
}
