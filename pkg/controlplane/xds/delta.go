package xds

import (
	"slices"
	"strconv"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// deltaSession is the state of one incremental stream: what the proxy asked for and what it holds.
// The rules are those of the xDS protocol specification, "Incremental xDS".
type deltaSession struct {
	lists  *nameLists
	types  [envoy.NumKinds]deltaType
	nonces uint64
}

// Versions that no resource has.
const (
	// forgotten is for what the proxy asked for: it may hold it or not, and must be told of it.
	forgotten = ""
	// newToIt is for what a proxy that came from another stream did not report.
	newToIt = "-"
)

type deltaType struct {
	asked    bool // a request of this type has come
	wildcard bool
	names    *nameList // the explicit subscription
	// held is what the proxy was brought to last: it has been offered each resource of it that it
	// wants, but for those in except. A refused version counts as held.
	held layers
	// except maps wanted names to the version that the proxy holds of them, where that is not the
	// one in held; see forgotten and newToIt. It is nil nearly always.
	except map[string]string
	// awaiting is the nonce of the response that is not answered yet, 0 if there is none, and sent
	// what was in it.
	awaiting uint64
	sent     sent
	pushed   time.Time
	refusals refusals
}

func (t *deltaType) wants(name string) bool { return t.wildcard || t.names.has(name) }

// hold remembers that the proxy holds another version than held says.
func (t *deltaType) hold(name, version string) {
	if t.except == nil {
		t.except = map[string]string{}
	}
	t.except[name] = version
}

// forget makes the session hold nothing against a name.
func (t *deltaType) forget(name string) {
	if delete(t.except, name); len(t.except) == 0 {
		t.except = nil
	}
}

// handle takes a request and returns what it says about a response, if it answers the last one.
func (d *deltaSession) handle(req *discoveryv3.DeltaDiscoveryRequest, o offer, now time.Time) answer {
	typ, ok := envoy.KindOf(req.GetTypeUrl())
	if !ok {
		return answer{}
	}
	t := &d.types[typ]
	if !t.asked {
		d.begin(t, typ, req, o.layers(typ))
	} else {
		d.subscribe(t, req.GetResourceNamesSubscribe())
	}
	d.unsubscribe(t, req.GetResourceNamesUnsubscribe())
	if t.awaiting == 0 || req.GetResponseNonce() != strconv.FormatUint(t.awaiting, 10) {
		return answer{}
	}
	what := t.sent
	t.awaiting, t.sent = 0, sent{}
	if detail := req.GetErrorDetail(); detail != nil {
		return answer{typ: typ, refusal: t.refusals.refused(what, detail.GetMessage(), now, t.wants)}
	}
	t.refusals.accepted(what)
	changed := len(req.GetResourceNamesSubscribe())+len(req.GetResourceNamesUnsubscribe()) > 0
	return answer{typ: typ, accepted: true, changed: changed, what: what}
}

// begin takes what a proxy says first: what it wants, and what it still holds from an older stream.
func (d *deltaSession) begin(t *deltaType, typ envoy.Kind, req *discoveryv3.DeltaDiscoveryRequest, now layers) {
	subscribe, holds := req.GetResourceNamesSubscribe(), req.GetInitialResourceVersions()
	t.asked = true
	t.wildcard = slices.Contains(subscribe, wildcardName) || mayBeWildcard(typ) && len(subscribe) == 0
	t.names = d.lists.of(slices.Clone(subscribe))
	if len(holds) > 0 {
		t.resume(holds, now)
	}
	t.dropUnwanted() // clusters may have asked for the endpoints to be sent again before the proxy did
	for _, name := range now.missing(t.names.all()) {
		t.holdFirst(name, forgotten) // it must be told that there is none
	}
}

// resume notes where what the proxy holds differs from what it should have.
func (t *deltaType) resume(holds map[string]string, now layers) {
	t.held = now
	for _, set := range now {
		if set == nil {
			continue
		}
		for _, r := range set.All() {
			version, reported := holds[r.Name]
			if !reported {
				version = newToIt
			}
			if version != r.Version && t.wants(r.Name) {
				t.holdFirst(r.Name, version)
			}
		}
	}
	for name, version := range holds {
		if t.wants(name) && now.named(name) == nil {
			t.holdFirst(name, version)
		}
	}
}

// holdFirst is hold for what is not an exception already.
func (t *deltaType) holdFirst(name, version string) {
	if _, noted := t.except[name]; !noted {
		t.hold(name, version)
	}
}

// dropUnwanted drops the exceptions that the proxy has not subscribed to.
func (t *deltaType) dropUnwanted() {
	for name := range t.except {
		if !t.wants(name) {
			t.forget(name)
		}
	}
}

// subscribe adds to what the proxy wants. It may have dropped what it asks for again, so that is
// sent again.
func (d *deltaSession) subscribe(t *deltaType, names []string) {
	if len(names) == 0 {
		return
	}
	t.names = d.lists.change(t.names, names, nil)
	for _, name := range names {
		switch {
		case name != wildcardName:
			t.hold(name, forgotten)
		case !t.wildcard:
			t.widen()
		}
	}
}

// widen makes the proxy want everything: what it did not subscribe to by name it does not hold.
func (t *deltaType) widen() {
	t.wildcard = true
	for _, set := range t.held {
		if set == nil {
			continue
		}
		for _, r := range set.All() {
			if !t.names.has(r.Name) {
				t.hold(r.Name, forgotten)
			}
		}
	}
}

// unsubscribe takes from what the proxy wants. A name that the wildcard still covers is told again:
// the proxy may forget it with its explicit subscription.
func (d *deltaSession) unsubscribe(t *deltaType, names []string) {
	if len(names) == 0 {
		return
	}
	t.names = d.lists.change(t.names, nil, names)
	if slices.Contains(names, wildcardName) {
		t.wildcard = false
	}
	for _, name := range names {
		if t.wildcard && name != wildcardName {
			t.hold(name, forgotten)
		}
	}
	t.dropUnwanted()
	t.refusals.dropped(t.wants)
}

// lacks says whether the proxy is to be sent that resource: it wants it and does not hold it.
func (d *deltaSession) lacks(typ envoy.Kind, name string, o offer) bool {
	t := &d.types[typ]
	r := o.layers(typ).named(name)
	if r == nil || !t.wants(name) {
		return false
	}
	version, ok := t.except[name]
	if held := t.held.named(name); !ok && held != nil {
		version = held.Version
	}
	return version != r.Version
}

// settled says whether the proxy answered everything that it was sent.
func (d *deltaSession) settled() bool {
	for typ := range envoy.NumKinds {
		if d.types[typ].awaiting != 0 {
			return false
		}
	}
	return true
}

// configured says whether the proxy asked for its listeners and answered all that it was sent.
func (d *deltaSession) configured() bool { return d.types[envoy.Listeners].asked && d.settled() }

func (d *deltaSession) remembers() (names, bytes int) {
	for typ := range envoy.NumKinds {
		t := &d.types[typ]
		names += len(t.names.all())
		bytes += t.names.bytes() + len(t.except)*exceptSize
		for name, version := range t.except {
			bytes += len(name) + len(version)
		}
	}
	return names, bytes
}

// exceptSize is what an entry of a map of strings takes beside the strings' bytes.
const exceptSize = 2*stringSize + 16
