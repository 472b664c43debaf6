package xds

import (
	"maps"
	"slices"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/tests/reach"
)

// sotwModel is a proxy of the state-of-the-world variant.
type sotwModel struct {
	*sotwProxy
	outcomes *reach.Outcomes
	types    [envoy.NumKinds]sotwModelType
}

type sotwModelType struct {
	wildcard bool
	wants    map[string]bool
	offered  map[string]string // what was sent last, accepted or refused
	nonce    string            // of the last response that it saw
	owes     *discoveryv3.DiscoveryResponse
	carried  map[string]string // what it carries
	seen     map[string]string // what the last response carried, of clusters only
	warming  map[string]bool
}

func FuzzSotw(f *testing.F) {
	seed(f)
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, script []byte) { playSotw(t, script, outcomes) })
}

func playSotw(t *testing.T, script []byte, outcomes *reach.Outcomes) {
	m := &sotwModel{sotwProxy: newSotwProxy(t, emptyMesh()), outcomes: outcomes}
	m.connect()
	for _, s := range steps(script) {
		if !m.state.change(s) {
			m.play(s)
		}
	}
	for range 100 {
		for typ := range envoy.NumKinds {
			m.reply(typ, "")
		}
		if !m.receive() {
			break
		}
	}
	m.compare()
}

func (m *sotwModel) connect() {
	m.session = sotwSession{lists: m.session.lists}
	for typ := range envoy.NumKinds {
		m.types[typ] = sotwModelType{wildcard: mayBeWildcard(typ), wants: map[string]bool{}, offered: map[string]string{}, warming: map[string]bool{}}
		m.send(typ, "")
	}
}

func (m *sotwModel) send(typ envoy.Kind, complaint string) {
	t := &m.types[typ]
	req := &discoveryv3.DiscoveryRequest{TypeUrl: typ.TypeURL(), ResponseNonce: t.nonce, ResourceNames: slices.Sorted(maps.Keys(t.wants))}
	if t.wildcard && len(t.wants) > 0 {
		req.ResourceNames = append(req.ResourceNames, "*")
	}
	if complaint != "" {
		req.ErrorDetail = &rpcstatus.Status{Message: complaint}
	}
	switch said := m.session.handle(req, m.state.offer(m.t), instant); {
	case said.accepted:
		m.outcomes.Note(reach.Accepted)
	case said.rejection != nil:
		m.outcomes.Note(reach.Refused)
	}
}

func (m *sotwModel) play(s step) {
	t := &m.types[s.typ]
	switch s.op {
	case 7, 8:
		if t.wildcard && len(t.wants) == 0 {
			t.wildcard = s.content != 1 // the first names end the implicit wildcard
		}
		t.wants[s.name] = true
		m.send(s.typ, "")
	case 9, 10:
		if t.wants[s.name] && len(t.wants) > 1 {
			delete(t.wants, s.name)
			if !t.wildcard {
				delete(t.offered, s.name)
			}
			m.send(s.typ, "")
		}
	case 11, 12:
		m.receive()
	case 13, 14:
		m.reply(s.typ, "")
	case 15:
		if s.name == "d" && s.content == 1 {
			m.connect()
			return
		}
		m.reply(s.typ, "no")
	}
}

func (m *sotwModel) receive() bool {
	encoded := m.session.next(m.state.offer(m.t), instant)
	if encoded == nil {
		return false
	}
	resp := decode(m.t, encoded, &discoveryv3.DiscoveryResponse{})
	t := &m.types[encoded.typ]
	if t.owes != nil {
		m.t.Fatalf("%q was sent before %q was answered", toldAll(m.t, resp), toldAll(m.t, t.owes))
	}
	t.owes, t.carried = resp, map[string]string{}
	for _, part := range m.session.types[encoded.typ].sent.parts {
		for _, r := range part {
			t.carried[r.Name] = r.Version
			if encoded.typ == envoy.Clusters && t.seen[r.Name] != "" && t.seen[r.Name] != r.Version {
				m.types[envoy.Endpoints].warming[r.Name] = true
			}
			if encoded.typ == envoy.Endpoints {
				delete(t.warming, r.Name)
			}
		}
	}
	if len(t.carried) != len(resp.GetResources()) {
		m.t.Errorf("%d resources on the wire, %d remembered", len(resp.GetResources()), len(t.carried))
	}
	if encoded.typ == envoy.Clusters {
		m.quietWhenLess(t.offered, t.carried, t)
		t.seen = t.carried
	}
	return true
}

// quietWhenLess checks that no cluster is dropped before the proxy has answered everything else.
func (m *sotwModel) quietWhenLess(before, now map[string]string, t *sotwModelType) {
	for name := range before {
		if _, there := now[name]; there || !t.wildcard && !t.wants[name] {
			continue
		}
		for other := range envoy.NumKinds {
			if other != envoy.Clusters && m.types[other].owes != nil {
				m.t.Errorf("cluster %s was dropped before %q was answered", name, toldAll(m.t, m.types[other].owes))
			}
		}
	}
}

func (m *sotwModel) reply(typ envoy.Kind, complaint string) {
	t := &m.types[typ]
	if t.owes == nil {
		return
	}
	if mayBeWildcard(typ) {
		maps.DeleteFunc(t.offered, func(name, _ string) bool { return t.carried[name] == "" })
	}
	for name, version := range t.carried {
		if t.wildcard || t.wants[name] {
			t.offered[name] = version
		}
	}
	t.nonce, t.owes = t.owes.GetNonce(), nil
	m.send(typ, complaint)
}

func (m *sotwModel) compare() {
	m.t.Helper()
	o := m.state.offer(m.t)
	for typ := range envoy.NumKinds {
		t := &m.types[typ]
		want, got := map[string]string{}, map[string]string{}
		for _, set := range o.layers(typ) {
			for _, r := range set.All() {
				if t.wildcard || t.wants[r.Name] {
					want[r.Name] = r.Version
				}
			}
		}
		for name, version := range t.offered {
			// For other types the protocol cannot express that a resource is deleted.
			if _, there := want[name]; there || mayBeWildcard(typ) && (t.wildcard || t.wants[name]) {
				got[name] = version
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			m.t.Errorf("%s: the proxy's resources differ from what it should hold:\n%s", typ, diff)
		}
		for name := range t.warming {
			if _, there := want[name]; there && typ == envoy.Endpoints && !t.wildcard {
				m.t.Errorf("cluster %s changed and its endpoints were not sent again", name)
			}
		}
		if t.owes != nil {
			m.t.Errorf("%s: still sending after 100 answers", typ)
		}
	}
	wanted := 0
	for typ := range envoy.NumKinds {
		wanted += len(m.types[typ].wants)
	}
	checkFits(m.t, &m.session, wanted)
}
