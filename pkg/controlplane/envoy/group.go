package envoy

import (
	"slices"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/policy"
)

// Outbound configuration belongs to a group of identities that may send to the same destinations. Each
// group has a Layer: an outbound listener and the cluster of pods' own addresses, which are the
// group's own, and the resources of the Services and blocks that it reaches, which are built once,
// however many groups reach them. Permissive mode is the case of one group.

// group is what the workloads of one group may send to.
type group struct {
	podCluster *Resource
	services   []*mesh.Service // sorted by name
	pods       reachedPods
	blocks     []*blockParts // of pods.blocks, with egress
	layer      *Layer
}

// serviceChange is a Service that changed: was is nil for a new one, is for a deleted one.
type serviceChange struct{ was, is *mesh.Service }

// buildGroups makes the groups of the snapshot's workloads and what they reach.
func (u *update) buildGroups() {
	changes := u.changedServices()
	if !u.sameWorkloads() {
		u.outbounds = u.currentOutbounds()
	}
	for _, out := range u.outbounds {
		was := u.before.groups[out.Group]
		if is := u.group(was, out, changes); is != was {
			u.groups[out.Group] = is
		}
	}
	u.forget(changes, u.forgetGroups())
}

// forgetGroups drops the groups without a workload, and reports whether there are any.
func (u *update) forgetGroups() (some bool) {
	if u.sameWorkloads() {
		return false
	}
	current := make(map[policy.Group]bool, len(u.outbounds))
	for _, out := range u.outbounds {
		current[out.Group] = true
	}
	for name := range u.before.groups {
		if !current[name] {
			u.groups[name], some = nil, true
		}
	}
	return some
}

// changedServices compares the lists of Services before and now.
func (u *update) changedServices() []serviceChange {
	var changes []serviceChange
	compare := func(a, b *mesh.Service) int { return a.Name.Compare(b.Name) }
	walk(u.before.snapshot.Services(), u.snapshot.Services(), compare, func(was, is *mesh.Service) {
		if was != is {
			changes = append(changes, serviceChange{was, is})
		}
	})
	return changes
}

// currentOutbounds are what the workloads of the snapshot may send to, each group once.
func (u *update) currentOutbounds() []*policy.Outbound {
	var outbounds []*policy.Outbound
	known := map[*policy.Outbound]bool{}
	add := func(c *class) {
		if out := u.decisions.Outbound(c.proxy.Identity); !known[out] {
			known[out] = true
			outbounds = append(outbounds, out)
		}
	}
	for name, c := range u.before.classes {
		if _, changed := u.classes[name]; !changed {
			add(c)
		}
	}
	for _, c := range u.classes {
		if c != nil {
			add(c)
		}
	}
	return outbounds
}

// group returns the group as it is now: was itself if nothing changed that it reaches. was is nil for a
// group that did not exist.
func (u *update) group(was *group, out *policy.Outbound, changes []serviceChange) *group {
	if was == nil {
		changes = allNew(u.snapshot.Services())
	}
	reached := within(out, changes)
	if was != nil && len(reached) == 0 && u.pods == u.before.pods {
		return was
	}
	edit, is := &edits{}, &group{}
	if was == nil {
		is.podCluster = u.encode(Clusters, clusterPods, podsCluster(u.settings.TrustDomain, out.Servers))
		is.layer = NewLayer(nil)
		edit.add(Clusters, is.podCluster)
		edit.add(Clusters, u.fixed...)
	} else {
		*is = *was
	}
	is.services = u.reachedServices(out, is.services, reached)
	relisten := u.editServices(edit, reached)
	if was == nil || u.pods != u.before.pods {
		is.pods = u.pods.reachedBy(out.Servers)
		relisten = u.editPods(edit, was, is) || relisten
	}
	if was == nil || relisten {
		edit.add(Listeners, u.outboundListener(is))
	}
	if edit.empty() || u.err != nil {
		return was
	}
	is.layer = edit.apply(is.layer)
	return is
}

func allNew(services []*mesh.Service) []serviceChange {
	changes := make([]serviceChange, len(services))
	for i, s := range services {
		changes[i].is = s
	}
	return changes
}

// within are the changes as the group sees them: a Service that it does not reach does not exist.
func within(out *policy.Outbound, changes []serviceChange) []serviceChange {
	var seen []serviceChange
	for _, c := range changes {
		if c.was != nil && !out.Reaches(c.was) {
			c.was = nil
		}
		if c.is != nil && !out.Reaches(c.is) {
			c.is = nil
		}
		if c.was != nil || c.is != nil {
			seen = append(seen, c)
		}
	}
	return seen
}

// reachedServices returns the Services of a group after the changes.
func (u *update) reachedServices(out *policy.Outbound, before []*mesh.Service, changes []serviceChange) []*mesh.Service {
	if len(changes) == 0 {
		return before
	}
	if everything := u.snapshot.Services(); out.ReachesAll() {
		return everything // the list itself, shared with the snapshot
	}
	changed := make(map[mesh.ServiceName]bool, len(changes))
	var now []*mesh.Service
	for _, c := range changes {
		if c.was != nil {
			changed[c.was.Name] = true
		}
		if c.is != nil {
			now = append(now, c.is)
		}
	}
	for _, s := range before {
		if !changed[s.Name] {
			now = append(now, s)
		}
	}
	slices.SortFunc(now, func(a, b *mesh.Service) int { return a.Name.Compare(b.Name) })
	return now
}

// editServices notes what the changed Services add and remove, and reports whether the outbound
// listener depends on it.
func (u *update) editServices(edit *edits, changes []serviceChange) (relisten bool) {
	for _, c := range changes {
		var was, is *serviceParts
		if c.was != nil {
			was = u.before.services[c.was.Name]
		}
		if c.is != nil {
			is = u.partsOf(c.is)
		}
		edit.replace(was, is)
		relisten = relisten || was == nil || is == nil || !was.shape.equal(is.shape)
	}
	return relisten
}

// partsOf returns the parts of a Service of the snapshot, which are built if no group needed them before.
func (u *update) partsOf(s *mesh.Service) *serviceParts {
	if p := u.services[s.Name]; p != nil {
		return p
	}
	was := u.before.services[s.Name]
	if was != nil && was.service == s {
		return was
	}
	p := u.serviceParts(u.settings, s, was)
	u.services[s.Name] = p
	return p
}

// outboundListener encodes the group's outbound listener.
func (u *update) outboundListener(g *group) *Resource {
	if u.err != nil {
		return nil
	}
	services := make([]*serviceParts, len(g.services))
	for i, s := range g.services {
		services[i] = u.partsOf(s)
	}
	return u.encode(Listeners, ListenerOutbound, outboundListener(services, g.pods, u.settings))
}

// forget drops the parts that no group reaches any more.
func (u *update) forget(changes []serviceChange, left bool) {
	for _, c := range changes {
		if c.was != nil && u.services[c.was.Name] == nil {
			u.services[c.was.Name] = nil
		}
	}
	for prefix := range u.before.blocks {
		if !u.pods.has(prefix) {
			u.blocks[prefix] = nil
		}
	}
	if left {
		reached := u.reached()
		for name := range u.before.services {
			if !reached[name] {
				u.services[name] = nil
			}
		}
	}
}

// reached are the names of the Services that some group reaches.
func (u *update) reached() map[mesh.ServiceName]bool {
	names := map[mesh.ServiceName]bool{}
	for _, out := range u.outbounds {
		g := u.before.groups[out.Group]
		if changed := u.groups[out.Group]; changed != nil {
			g = changed
		}
		if g == nil { // it could not be built
			continue
		}
		for _, s := range g.services {
			names[s.Name] = true
		}
	}
	return names
}
