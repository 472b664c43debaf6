package xds

import (
	"slices"
	"strconv"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// deltaSession is the state of one incremental stream: what the proxy subscribed to and what it holds.
// It follows the xDS protocol specification, "Incremental xDS".
type deltaSession struct {
	lists  *nameLists
	types  [envoy.NumKinds]deltaType
	nonces uint64
}

// Versions that no resource has.
const (
	// forgotten marks a resource that the proxy asked for: it may or may not hold it, and must get an answer.
	forgotten = ""
	// newToIt marks a resource that a proxy that came from another stream did not report to hold.
	newToIt = "-"
)

type deltaType struct {
	asked    bool // a request of this type has come
	wildcard bool
	names    *nameList // the explicit subscription
	// held is what the proxy was last brought to: it was offered every resource in it that it wants, except
	// for those in except. A rejected version counts as held.
	held layers
	// except maps wanted names to the version that the proxy holds, where that is not the one in held; see
	// forgotten and newToIt. It is nearly always nil.
	except map[string]string
	// awaiting is the nonce of the unanswered response, 0 if there is none; sent is what it carried.
	awaiting   uint64
	sent       sent
	pushed     time.Time
	rejections rejections
}

func (t *deltaType) wants(name string) bool { return t.wildcard || t.names.has(name) }

// hold records that the proxy holds a different version than held says.
func (t *deltaType) hold(name, version string) {
	if t.except == nil {
		t.except = map[string]string{}
	}
	t.except[name] = version
}

// forget removes the exception for a name.
func (t *deltaType) forget(name string) {
	if delete(t.except, name); len(t.except) == 0 {
		t.except = nil
	}
}

// handle applies a request and returns what it says about the last response, if it answers that.
func (d *deltaSession) handle(req *discoveryv3.DeltaDiscoveryRequest, o offer, now time.Time) ack {
	typ, ok := envoy.KindOf(req.GetTypeUrl())
	if !ok {
		return ack{}
	}
	t := &d.types[typ]
	if !t.asked {
		d.begin(t, typ, req, o.layers(typ))
	} else {
		d.subscribe(t, req.GetResourceNamesSubscribe())
	}
	d.unsubscribe(t, req.GetResourceNamesUnsubscribe())
	if t.awaiting == 0 || req.GetResponseNonce() != strconv.FormatUint(t.awaiting, 10) {
		return ack{}
	}
	what := t.sent
	t.awaiting, t.sent = 0, sent{}
	if detail := req.GetErrorDetail(); detail != nil {
		return ack{typ: typ, rejection: t.rejections.reject(what, detail.GetMessage(), now, t.wants)}
	}
	t.rejections.accept(what)
	changed := len(req.GetResourceNamesSubscribe())+len(req.GetResourceNamesUnsubscribe()) > 0
	return ack{typ: typ, accepted: true, changed: changed, carried: what}
}

// begin applies the first request of a kind: what the proxy wants, and what it still holds from an older
// stream.
func (d *deltaSession) begin(t *deltaType, typ envoy.Kind, req *discoveryv3.DeltaDiscoveryRequest, now layers) {
	subscribe, holds := req.GetResourceNamesSubscribe(), req.GetInitialResourceVersions()
	t.asked = true
	t.wildcard = slices.Contains(subscribe, wildcardName) || mayBeWildcard(typ) && len(subscribe) == 0
	t.names = d.lists.of(slices.Clone(subscribe))
	if len(holds) > 0 {
		t.resume(holds, now)
	}
	t.dropUnwanted() // a changed cluster may have had its endpoints marked before the proxy asked for any
	for _, name := range now.missing(t.names.all()) {
		t.holdFirst(name, forgotten) // the proxy must learn that it does not exist
	}
}

// resume records where what the proxy holds differs from what it should hold.
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

// holdFirst is hold for names without an exception.
func (t *deltaType) holdFirst(name, version string) {
	if _, noted := t.except[name]; !noted {
		t.hold(name, version)
	}
}

// dropUnwanted drops exceptions for names that the proxy did not subscribe to.
func (t *deltaType) dropUnwanted() {
	for name := range t.except {
		if !t.wants(name) {
			t.forget(name)
		}
	}
}

// subscribe adds names. A resource that the proxy asks for again is sent again: it may have dropped it.
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

// widen makes the proxy want everything. What it did not subscribe to by name it does not hold.
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

// unsubscribe removes names. One that the wildcard still covers is sent again: the proxy may forget it
// with its explicit subscription.
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
	t.rejections.drop(t.wants)
}

// lacks reports whether the proxy wants the resource and does not hold its current version.
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

// settled reports whether the proxy answered everything it was sent.
func (d *deltaSession) settled() bool {
	for typ := range envoy.NumKinds {
		if d.types[typ].awaiting != 0 {
			return false
		}
	}
	return true
}

// configured reports whether the proxy asked for its listeners and answered everything it was sent.
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

// exceptSize is the size of a map entry of two strings without their bytes.
const exceptSize = 2*stringSize + 16
