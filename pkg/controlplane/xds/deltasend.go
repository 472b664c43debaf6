package xds

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// next returns the next response to send, or nil when the proxy has everything it should have or still has to
// answer. New and changed resources go in push order; only after all of them were answered
// are resources removed, in the reverse order, so that nothing in use is missing in between. That
// a resource does not exist is sent at once: Envoy answers a new cluster only when it knows its endpoints,
// or that there are none.
func (d *deltaSession) next(o offer, now time.Time) *response {
	quiet := true
	for typ := range envoy.NumKinds {
		t := &d.types[typ]
		switch {
		case !t.asked || !o.ready(typ):
		case t.awaiting != 0:
			quiet = false
		default:
			if resp := d.changed(typ, o.layers(typ), now); resp != nil {
				return resp
			}
		}
	}
	if !quiet {
		return nil
	}
	for typ := envoy.NumKinds - 1; typ >= 0; typ-- {
		if t := &d.types[typ]; t.asked && len(t.except) > 0 && o.ready(typ) {
			// What is wanted and was not sent, although everything is answered, does not exist.
			gone := slices.Sorted(maps.Keys(t.except))
			t.except = nil
			return d.respond(typ, &response{}, sent{removed: gone}, now)
		}
	}
	return nil
}

// changed returns the response with what the proxy wants and does not hold in its current version,
// nil if there is nothing. It leaves in t.except what the proxy holds and what no longer exists.
func (d *deltaSession) changed(typ envoy.Kind, now layers, at time.Time) *response {
	t := &d.types[typ]
	if t.held == now && t.except == nil {
		return nil
	}
	var fresh map[string]bool
	if typ == envoy.Clusters {
		fresh = d.resendExcepted(now)
	}
	before := t.held
	diffs := now.since(before)
	t.held = now
	for _, diff := range diffs {
		if diff != nil {
			t.noteRemoved(diff.Removed, before, now)
		}
	}
	resp, what := &response{}, sent{}
	for i, diff := range diffs {
		if diff == nil || len(diff.Changed) == 0 {
			continue
		}
		// A name that left the other layer may only have moved.
		moved := diffs[1-i] != nil && len(diffs[1-i].Removed) > 0
		if !moved && t.wantsAllOf(diff.Changed) {
			what.parts[i] = diff.Changed
			resp.add(diff.Delta())
		} else if some := t.filter(diff.Changed, before); len(some) > 0 {
			what.parts[i] = some
			resp.addEach(some, (*envoy.Resource).Delta)
		}
	}
	more, never := t.excepted(now)
	if len(more) > 0 {
		resp.addEach(more, (*envoy.Resource).Delta)
		what.parts = [2][]*envoy.Resource{joined(what.parts[0], what.parts[1], more)}
	}
	if what.removed = never; len(resp.buffers)+len(never) == 0 {
		return nil
	}
	if typ == envoy.Clusters {
		d.resendEndpoints(what, before, fresh)
	}
	return d.respond(typ, resp, what, at)
}

// noteRemoved defers removals until nothing refers to them anymore.
func (t *deltaType) noteRemoved(names []string, before, now layers) {
	for _, name := range names {
		if t.wants(name) && now.named(name) == nil {
			t.holdFirst(name, before.named(name).Version)
		}
	}
}

// wantsAllOf reports whether a whole change can be passed on as it is encoded.
func (t *deltaType) wantsAllOf(changed []*envoy.Resource) bool {
	if len(t.except) > 0 {
		return false
	}
	if t.wildcard {
		return true
	}
	// Both are sorted: usually the next name wanted is the next one that changed.
	wanted := t.names.all()
	for _, r := range changed {
		if len(wanted) == 0 {
			return false
		}
		if wanted[0] != r.Name {
			i, found := slices.BinarySearch(wanted, r.Name)
			if !found {
				return false
			}
			wanted = wanted[i:]
		}
		wanted = wanted[1:]
	}
	return true
}

// filter returns the part of a change that the proxy wants and does not hold, and removes its exceptions.
func (t *deltaType) filter(changed []*envoy.Resource, before layers) []*envoy.Resource {
	var some []*envoy.Resource
	for _, r := range changed {
		if !t.wants(r.Name) {
			continue
		}
		version, excepted := t.except[r.Name]
		if was := before.named(r.Name); was != nil && !excepted {
			version = was.Version
		}
		if t.forget(r.Name); version != r.Version {
			some = append(some, r)
		}
	}
	return some
}

// excepted returns the exceptions to send, and the names that the response must list as not
// existing, and removes both. What the proxy holds and what no longer exists stays.
func (t *deltaType) excepted(now layers) (some []*envoy.Resource, never []string) {
	for name, version := range t.except {
		r := now.named(name)
		if r == nil && version != forgotten {
			continue
		}
		t.forget(name)
		switch {
		case r == nil:
			never = append(never, name)
		case version != r.Version:
			some = append(some, r)
		}
	}
	slices.SortFunc(some, byName)
	slices.Sort(never)
	return some, never
}

// resendEndpoints sends the endpoints of changed clusters again: Envoy warms a changed cluster from scratch
// and waits for them. For fresh clusters it asks itself.
func (d *deltaSession) resendEndpoints(what sent, before layers, fresh map[string]bool) {
	if before == (layers{}) {
		return // all clusters are new
	}
	for _, part := range what.parts {
		for _, r := range part {
			if before.named(r.Name) != nil && !fresh[r.Name] {
				d.resend(r.Name)
			}
		}
	}
}

// resendExcepted does so for clusters that the proxy holds in a version that is not in held, and
// returns those that are fresh to it although they are in held.
func (d *deltaSession) resendExcepted(now layers) (fresh map[string]bool) {
	for name, version := range d.types[envoy.Clusters].except {
		switch r := now.named(name); {
		case version == newToIt:
			if fresh == nil {
				fresh = map[string]bool{}
			}
			fresh[name] = true
		case r != nil && version != forgotten && version != r.Version:
			d.resend(name)
		}
	}
	return fresh
}

// resend sends a cluster's endpoints again. On a new stream the proxy may not have asked for them yet.
func (d *deltaSession) resend(cluster string) {
	if t := &d.types[envoy.Endpoints]; !t.asked || t.wants(cluster) {
		t.hold(cluster, forgotten)
	}
}

func (d *deltaSession) respond(typ envoy.Kind, resp *response, what sent, now time.Time) *response {
	t := &d.types[typ]
	d.nonces++
	t.awaiting, t.sent, t.pushed = d.nonces, what, now
	resp.typ = typ
	for _, name := range what.removed {
		resp.field(fieldRemoved, name)
	}
	return resp.finish(d.nonces)
}

func byName(a, b *envoy.Resource) int { return strings.Compare(a.Name, b.Name) }

// joined concatenates lists, sorted by name.
func joined(lists ...[]*envoy.Resource) []*envoy.Resource {
	all := slices.Concat(lists...)
	slices.SortFunc(all, byName)
	return all
}
