package xds

import (
	"slices"
	"strconv"
	"strings"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

const wildcardName = "*"

// rejection is what a proxy said about a response that it did not accept.
type rejection struct {
	typ       resourceType
	resources []string
	message   string
}

// deltaSession is the state of one incremental stream: what the proxy asked for and what it holds.
// The rules are those of the xDS protocol specification, "Incremental xDS".
type deltaSession struct {
	types  [numTypes]deltaType
	nonces uint64
}

type deltaType struct {
	asked    bool // a request of this type has come
	wildcard bool
	explicit map[string]bool
	// held is the version of each resource at the proxy, as far as it was sent or reported;
	// "" stands for "was told that it does not exist". A rejected version counts as held: it is
	// not sent again until it changes.
	held map[string]string
	// awaiting is the nonce of the response that is not answered yet, "" if there is none, and
	// sentNames what was in it.
	awaiting  string
	sentNames []string
}

// handle takes a request. A rejection is returned for the record; the stream goes on.
func (d *deltaSession) handle(req *discoveryv3.DeltaDiscoveryRequest) *rejection {
	typ, ok := typeOf(req.GetTypeUrl())
	if !ok {
		return nil
	}
	t := &d.types[typ]
	if !t.asked {
		t.begin(typ, req)
	} else {
		// The proxy may have dropped what it asks for again, so it must be sent again.
		for _, name := range req.GetResourceNamesSubscribe() {
			delete(t.held, name)
		}
	}
	t.subscribe(req)
	if req.GetResponseNonce() == "" || req.GetResponseNonce() != t.awaiting {
		return nil
	}
	names := t.sentNames
	t.awaiting, t.sentNames = "", nil
	if detail := req.GetErrorDetail(); detail != nil {
		return &rejection{typ: typ, resources: names, message: detail.GetMessage()}
	}
	return nil
}

// begin takes what a proxy says first: on a new stream, what it still holds from an older one.
func (t *deltaType) begin(typ resourceType, req *discoveryv3.DeltaDiscoveryRequest) {
	t.asked = true
	t.wildcard = typ.mayBeWildcard() && len(req.GetResourceNamesSubscribe()) == 0
	t.explicit = map[string]bool{}
	t.held = make(map[string]string, len(req.GetInitialResourceVersions()))
	for name, version := range req.GetInitialResourceVersions() {
		t.held[name] = version
	}
}

func (t *deltaType) subscribe(req *discoveryv3.DeltaDiscoveryRequest) {
	for _, name := range req.GetResourceNamesSubscribe() {
		if name == wildcardName {
			t.wildcard = true
		} else {
			t.explicit[name] = true
		}
	}
	for _, name := range req.GetResourceNamesUnsubscribe() {
		if name != wildcardName {
			delete(t.explicit, name)
			delete(t.held, name)
			continue
		}
		t.wildcard = false
		for held := range t.held {
			if !t.explicit[held] {
				delete(t.held, held)
			}
		}
	}
}

// next returns the next response to send, or nil when the proxy has all it should have or owes
// answers first. New and changed resources go in push order; only when all of them were answered
// are resources taken away, in the reverse order, so that nothing in use is missing in between.
func (d *deltaSession) next(o offer) *discoveryv3.DeltaDiscoveryResponse {
	quiet := true
	for typ := range numTypes {
		t := &d.types[typ]
		if t.awaiting != "" {
			quiet = false
			continue
		}
		if changed := t.changed(typ, o); len(changed) > 0 {
			if typ == clusters {
				d.resendEndpoints(changed)
			}
			return d.respond(typ, changed, nil)
		}
	}
	if !quiet {
		return nil
	}
	for typ := numTypes - 1; typ >= 0; typ-- {
		if removed := d.types[typ].removed(typ, o); len(removed) > 0 {
			return d.respond(typ, nil, removed)
		}
	}
	return nil
}

// changed lists what the proxy wants and does not hold in its current version.
func (t *deltaType) changed(typ resourceType, o offer) []*envoy.Resource {
	var changed []*envoy.Resource
	if t.wildcard {
		for _, r := range o.all(typ) {
			if t.held[r.Name] != r.Version {
				changed = append(changed, r)
			}
		}
		return changed
	}
	for name := range t.explicit {
		if r := o.named(typ, name); r != nil && t.held[name] != r.Version {
			changed = append(changed, r)
		}
	}
	slices.SortFunc(changed, func(a, b *envoy.Resource) int { return strings.Compare(a.Name, b.Name) })
	return changed
}

// removed lists what the proxy holds, or waits for, and what does not exist.
func (t *deltaType) removed(typ resourceType, o offer) []string {
	var removed []string
	for name, version := range t.held {
		if version != "" && o.named(typ, name) == nil {
			removed = append(removed, name)
		}
	}
	for name := range t.explicit {
		if _, told := t.held[name]; !told && o.named(typ, name) == nil {
			removed = append(removed, name)
		}
	}
	slices.Sort(removed)
	return removed
}

// resendEndpoints forgets that the proxy holds the endpoints of clusters that change: Envoy warms a
// changed cluster anew and waits for its endpoints to come again.
func (d *deltaSession) resendEndpoints(changed []*envoy.Resource) {
	for _, r := range changed {
		if _, update := d.types[clusters].held[r.Name]; update {
			delete(d.types[endpoints].held, r.Name)
		}
	}
}

func (d *deltaSession) respond(typ resourceType, changed []*envoy.Resource, removed []string) *discoveryv3.DeltaDiscoveryResponse {
	t := &d.types[typ]
	d.nonces++
	t.awaiting = strconv.FormatUint(d.nonces, 10)
	resp := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURLs[typ], Nonce: t.awaiting, RemovedResources: removed}
	for _, r := range changed {
		resp.Resources = append(resp.Resources, &discoveryv3.Resource{Name: r.Name, Version: r.Version, Resource: r.Body})
		t.sentNames = append(t.sentNames, r.Name)
		t.held[r.Name] = r.Version
	}
	for _, name := range removed {
		t.sentNames = append(t.sentNames, name)
		if t.explicit[name] {
			t.held[name] = ""
		} else {
			delete(t.held, name)
		}
	}
	return resp
}

// settled says whether the proxy answered everything that it was sent.
func (d *deltaSession) settled() bool {
	for typ := range numTypes {
		if d.types[typ].awaiting != "" {
			return false
		}
	}
	return true
}

// configured says whether the proxy asked for its listeners and answered all that it was sent.
func (d *deltaSession) configured() bool { return d.types[listeners].asked && d.settled() }
