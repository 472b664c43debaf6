package envoy

import (
	"google.golang.org/protobuf/proto"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/policy"
)

// class is what only the proxies of one class have: their own ports and who may connect to them.
type class struct {
	proxy policy.Proxy
	layer *Layer
	users int // workloads
}

// buildClasses makes the Layer of each workload's class and counts the workloads of each class.
func (u *update) buildClasses() {
	if u.before.config != nil && u.sameWorkloads() {
		u.own = u.before.config.own
		return
	}
	var last []*Layer
	if u.before.config != nil {
		last = u.before.config.own
	}
	u.own = make([]*Layer, 0, len(u.snapshot.Workloads()))
	compare := func(a, b *mesh.Workload) int { return a.Name.Compare(b.Name) }
	walk(u.before.snapshot.Workloads(), u.snapshot.Workloads(), compare, func(was, is *mesh.Workload) {
		switch {
		case was == is && u.decisions == u.before.decisions:
			u.own = append(u.own, last[0])
		case was == is:
			u.own = append(u.own, u.class(is).layer)
		case is != nil:
			u.own = append(u.own, u.countClass(is, +1).layer)
		}
		if was != nil {
			last = last[1:]
			if was != is {
				u.countClass(was, -1)
			}
		}
	})
	for name, c := range u.classes {
		if c.users == 0 {
			u.classes[name] = nil
		}
	}
}

func (u *update) countClass(w *mesh.Workload, by int) *class {
	c := u.class(w)
	c.users += by
	return c
}

// class returns the workload's class, to be changed.
func (u *update) class(w *mesh.Workload) *class {
	name := w.Class()
	if c := u.classes[name]; c != nil {
		return c
	}
	c := &class{}
	if was := u.before.classes[name]; was != nil {
		*c = *was
	}
	if c.layer == nil || u.decisions != u.before.decisions {
		if proxy := u.decisions.Proxy(w); c.layer == nil || !c.proxy.Equal(proxy) {
			c.proxy, c.layer = proxy, u.ownLayer(u.settings, proxy)
		}
	}
	u.classes[name] = c
	return c
}

// ownLayer is what the proxies of one class receive on their own ports.
func (e *encoder) ownLayer(settings mesh.Settings, proxy policy.Proxy) *Layer {
	own := map[Kind][]*Resource{}
	add := func(k Kind, name string, message proto.Message) {
		own[k] = append(own[k], e.encode(k, name, message))
	}
	for _, port := range proxy.Inbound {
		cluster := localCluster(port.Number)
		add(Clusters, cluster, localClusterFor(port.InboundPort, settings.AppOnPodIP))
		if port.Protocol.IsHTTP() {
			route := inboundRoute(port.Number)
			add(Routes, route, everythingTo(route, cluster, nil))
		}
	}
	add(Listeners, ListenerInbound, inboundListener(settings, proxy))
	if e.err != nil {
		return nil
	}
	return NewLayer(own)
}
