package fleet

import (
	"slices"
)

// variant is one variant of the protocol, for one proxy: delta or sotw.
type variant interface {
	// path is the gRPC method.
	path() string
	// begin returns the requests of a new stream; the proxy keeps what it holds from an older one.
	begin(node string) []outgoing
	// take handles a response, which is not retained, and returns what to send. changed is called with
	// every resource in it, new or not.
	take(message []byte, changed func(*resource)) (received, []outgoing, error)
	// configured reports whether the proxy has everything that it needs to carry traffic.
	configured() bool
	// forget resets it to an Envoy that has just been started.
	forget()
}

// outgoing is a request, encoded.
type outgoing []byte

// received describes a response.
type received struct {
	kind               Kind
	resources, removed int
}

// holding is what a proxy holds and asks for, the same in both variants.
type holding struct {
	catalog *Catalog
	// only narrows the endpoints that the proxy asks for; nil means all.
	only  func(name string) bool
	kinds [NumKinds]kindHolding
}

// kindHolding is the part for one kind; its lists are indexed by the names' numbers.
type kindHolding struct {
	asked    bool // a request has been sent, on this stream or an older one
	got      bool // a response has arrived
	held     []*resource
	wanted   []bool // by name; clusters and listeners are asked for as a whole
	answered []bool // wanted, and it arrived or does not exist
	pending  int    // wanted and not answered
}

// clear resets it.
func (h *holding) clear() { h.kinds = [NumKinds]kindHolding{} }

// order is the order in which a new stream asks, that of an Envoy's subscriptions.
func order() [NumKinds]Kind { return [NumKinds]Kind{CDS, EDS, SDS, LDS, RDS} }

func byName(k Kind) bool { return k != CDS && k != LDS }

// put stores a resource; a nil r means that there is none of the name.
func (h *holding) put(n *name, r *resource) {
	k := &h.kinds[n.kind]
	k.held = grown(k.held, n.index)
	k.held[n.index] = r
	k.answered = grown(k.answered, n.index)
	if !k.answered[n.index] && at(k.wanted, n.index) {
		k.pending--
	}
	k.answered[n.index] = true
}

// change describes how the wanted names of a kind change.
type change struct {
	kind      Kind
	add, drop []*name
}

// follow determines, after a response with clusters or listeners, what else the proxy asks for now.
func (h *holding) follow() []change {
	var endpoints, secrets, routes []*name
	for _, r := range h.kinds[CDS].held {
		if r == nil {
			continue
		}
		if r.endpoints != nil && (h.only == nil || h.only(r.endpoints.text)) {
			endpoints = append(endpoints, r.endpoints)
		}
		secrets = append(secrets, r.secrets...)
	}
	for _, r := range h.kinds[LDS].held {
		if r != nil {
			secrets = append(secrets, r.secrets...)
			routes = append(routes, r.routes...)
		}
	}
	var changes []change
	for kind, names := range map[Kind][]*name{EDS: endpoints, SDS: secrets, RDS: routes} {
		if c := h.want(kind, names); len(c.add)+len(c.drop) > 0 {
			changes = append(changes, c)
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return int(a.kind) - int(b.kind) })
	return changes
}

// want sets the wanted names, and returns which were added and removed.
func (h *holding) want(kind Kind, names []*name) change {
	k := &h.kinds[kind]
	c := change{kind: kind}
	now := make([]bool, len(k.wanted))
	for _, n := range names {
		if now = grown(now, n.index); now[n.index] {
			continue
		}
		now[n.index] = true
		if !at(k.wanted, n.index) {
			c.add = append(c.add, n)
			k.pending++
		}
	}
	k.answered, k.held = grown(k.answered, len(now)-1), grown(k.held, len(now)-1)
	for index, was := range k.wanted {
		if !was || now[index] {
			continue
		}
		c.drop = append(c.drop, h.catalog.at(kind, index))
		if !k.answered[index] {
			k.pending--
		}
		k.answered[index], k.held[index] = false, nil
	}
	for _, n := range c.add {
		k.answered[n.index] = false
	}
	k.wanted = now
	return c
}

// names returns the wanted names, sorted.
func (h *holding) names(kind Kind) []string {
	var list []string
	for index, wanted := range h.kinds[kind].wanted {
		if wanted {
			list = append(list, h.catalog.at(kind, index).text)
		}
	}
	slices.Sort(list)
	return list
}

// warm reports whether all clusters have what they need. Only then does an Envoy ask for its listeners.
func (h *holding) warm() bool {
	return h.kinds[CDS].got && h.kinds[EDS].pending == 0 && h.kinds[SDS].pending == 0
}

func (h *holding) configured() bool {
	return h.warm() && h.kinds[LDS].got && h.kinds[RDS].pending == 0
}

// grown returns a list that has an item at index.
func grown[T any](list []T, index int) []T {
	if index < len(list) {
		return list
	}
	return append(list, make([]T, index+1-len(list))...)
}

func at(list []bool, index int) bool { return index < len(list) && list[index] }

// texts returns the names' texts, sorted, as in Envoy.
func texts(names []*name) []string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = n.text
	}
	slices.Sort(list)
	return list
}
