package xds

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/tests/reach"
)

// A script is pairs of bytes: an action, and the name and type that it applies to.
func seed(f *testing.F) {
	f.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		script := make([]byte, 20+random.IntN(300))
		for i := range script {
			script[i] = byte(random.IntN(256))
		}
		f.Add(script)
	}
}

// step is a pair of bytes, decoded.
type step struct {
	op      byte
	typ     envoy.Kind
	name    string
	content int
}

func steps(script []byte) []step {
	var all []step
	for i := 0; i+1 < len(script); i += 2 {
		arg := int(script[i+1])
		all = append(all, step{script[i] % 16, envoy.Kind(arg % int(envoy.NumKinds)), string(rune('a' + arg/5%4)), 1 + arg/20%3 + arg%2*100})
	}
	return all
}

// change changes the mesh: half of all steps.
func (s state) change(to step) bool {
	switch to.op {
	case 0, 1, 2, 3, 4:
		s[to.typ][to.name] = to.content
	case 5, 6:
		delete(s[to.typ], to.name)
	default:
		return false
	}
	return true
}

func emptyMesh() state {
	s := state{}
	for typ := range envoy.NumKinds {
		s[typ] = map[string]int{"a": 1}
	}
	return s
}

// deltaModel is a proxy as the protocol specification describes it.
type deltaModel struct {
	*deltaProxy
	outcomes *reach.Outcomes
	types    [envoy.NumKinds]deltaModelType
}

type deltaModelType struct {
	wildcard bool
	wants    map[string]bool
	has      map[string]string
	// offered is what it refused: the server can do no more than offer it. refused is what
	// the server must remember.
	offered, refused map[string]string
	owes             *discoveryv3.DeltaDiscoveryResponse
	warming          map[string]bool // endpoints that must come again
	again            map[string]bool // what it asked for since
	asked            map[string]bool // of clusters: what it may or may not hold
}

func (m *deltaModelType) wanted(name string) bool { return m.wildcard || m.wants[name] }

func FuzzDelta(f *testing.F) {
	seed(f)
	outcomes := reach.All(f, reach.Accepted, reach.Refused, "resumed")
	f.Fuzz(func(t *testing.T, script []byte) { playDelta(t, script, outcomes) })
}

func playDelta(t *testing.T, script []byte, outcomes *reach.Outcomes) {
	m := &deltaModel{deltaProxy: newDeltaProxy(t, emptyMesh()), outcomes: outcomes}
	for typ := range envoy.NumKinds {
		m.types[typ] = deltaModelType{wildcard: mayBeWildcard(typ), wants: map[string]bool{}, has: map[string]string{}, offered: map[string]string{}, refused: map[string]string{}, warming: map[string]bool{}, again: map[string]bool{}, asked: map[string]bool{}}
	}
	m.connect("")
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

// connect opens a stream, and lies about one name.
func (m *deltaModel) connect(lie string) {
	m.session = deltaSession{lists: m.session.lists}
	for typ := range envoy.NumKinds {
		t := &m.types[typ]
		t.owes, t.refused, t.offered, t.warming, t.again = nil, map[string]string{}, map[string]string{}, map[string]bool{}, map[string]bool{}
		if t.wanted(lie) && lie != "" {
			t.has[lie] = "lie"
			if r := m.state.offer(m.t).layers(typ).named(lie); r != nil && len(t.has)%2 == 0 {
				t.has[lie] = r.Version
			}
		}
		req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typ.TypeURL(), InitialResourceVersions: maps.Clone(t.has), ResourceNamesSubscribe: slices.Sorted(maps.Keys(t.wants))}
		if t.wildcard && (len(t.wants) > 0 || !mayBeWildcard(typ)) {
			req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, "*")
		}
		if !t.wildcard && len(t.wants) == 0 {
			if mayBeWildcard(typ) {
				t.wildcard = true // a first request without names
			}
			t.has = map[string]string{}
			req.InitialResourceVersions = nil
		}
		if len(req.GetInitialResourceVersions()) > 0 {
			m.outcomes.Note("resumed")
		}
		m.handle(req)
	}
}

func (m *deltaModel) play(s step) {
	t := &m.types[s.typ]
	switch s.op {
	case 7:
		t.wants[s.name], t.again[s.name], t.asked[s.name] = true, true, true
		delete(t.has, s.name)
		delete(t.offered, s.name)
		m.ask(s.typ, s.name)
	case 8:
		if t.wants[s.name] {
			t.again[s.name] = true // the wildcard may cover it
			delete(t.wants, s.name)
			delete(t.has, s.name)
			delete(t.offered, s.name)
			m.drop(s.typ, s.name)
			t.settleNames()
		}
	case 9:
		if s.content == 1 {
			t.wildcard = !t.wildcard
			if t.wildcard {
				for _, name := range []string{"a", "b", "c", "d"} {
					t.again[name], t.asked[name] = t.again[name] || !t.wants[name], true
				}
				m.ask(s.typ, "*")
				return
			}
			m.drop(s.typ, "*")
			t.settleNames()
		}
	case 10:
		if s.name == "a" {
			m.connect(map[bool]string{true: "b"}[s.content > 1])
		}
	case 11, 12:
		m.receive()
	case 13, 14:
		m.reply(s.typ, "")
	case 15:
		m.reply(s.typ, "no")
	}
}

// settleNames forgets what is no longer wanted.
func (m *deltaModelType) settleNames() {
	for _, names := range []map[string]string{m.has, m.offered, m.refused} {
		maps.DeleteFunc(names, func(name, _ string) bool { return !m.wanted(name) })
	}
	maps.DeleteFunc(m.warming, func(name string, _ bool) bool { return !m.wanted(name) })
}

// receive takes a response and checks what must hold for every response.
func (m *deltaModel) receive() bool {
	resp := m.next()
	if resp == nil {
		m.checkTold()
		return false
	}
	typ, _ := envoy.KindOf(resp.GetTypeUrl())
	t := &m.types[typ]
	if t.owes != nil {
		m.t.Fatalf("%q was sent before %q was answered", summary(resp), summary(t.owes))
	}
	for _, r := range resp.GetResources() {
		if t.offered[r.GetName()] == r.GetVersion() && typ != envoy.Endpoints && !t.again[r.GetName()] {
			m.t.Errorf("%s %s was refused and sent again unchanged", typ, r.GetName())
		}
		delete(t.again, r.GetName())
		if last := t.has[r.GetName()]; typ == envoy.Clusters && last != "" && last != r.GetVersion() {
			m.types[envoy.Endpoints].warming[r.GetName()] = m.types[envoy.Endpoints].wanted(r.GetName())
		}
		if typ == envoy.Endpoints {
			delete(t.warming, r.GetName())
		}
	}
	for _, name := range resp.GetRemovedResources() {
		for other := range envoy.NumKinds {
			// What it holds is removed last. Endpoints are an exception while their cluster may wait for them.
			waiting := typ == envoy.Endpoints && (t.warming[name] || m.types[envoy.Clusters].asked[name])
			if m.types[other].owes != nil && t.has[name] != "" && !t.again[name] && !waiting {
				m.t.Errorf("%q was sent before %q was answered", summary(resp), summary(m.types[other].owes))
			}
		}
		delete(t.again, name)
	}
	t.owes = resp
	return true
}

// checkTold checks, when there is nothing to send, that whatever the proxy asked for was answered: it
// may be waiting for that before it answers anything else.
func (m *deltaModel) checkTold() {
	for typ := range envoy.NumKinds {
		t := &m.types[typ]
		for name, asked := range t.again {
			if asked && t.owes == nil && t.wants[name] {
				m.t.Errorf("%s %s was requested and not answered", typ, name)
			}
		}
	}
}

func (m *deltaModel) reply(typ envoy.Kind, complaint string) {
	t := &m.types[typ]
	resp := t.owes
	if resp == nil {
		return
	}
	t.owes = nil
	for _, r := range resp.GetResources() {
		delete(t.refused, r.GetName())
		delete(t.offered, r.GetName())
		switch {
		case !t.wanted(r.GetName()): // it has unsubscribed since
		case complaint != "":
			t.offered[r.GetName()], t.refused[r.GetName()] = r.GetVersion(), r.GetVersion()
			t.asked[r.GetName()] = true // the server need not know whether it held an older one
		default:
			t.has[r.GetName()] = r.GetVersion()
		}
	}
	for _, name := range resp.GetRemovedResources() {
		delete(t.has, name)
		delete(t.offered, name)
		delete(t.refused, name)
		if typ == envoy.Clusters || typ == envoy.Endpoints {
			delete(m.types[envoy.Endpoints].warming, name)
		}
	}
	m.outcomes.OK(m.answer(resp, complaint) == nil)
}

// compare checks, once everything is answered, that the proxy holds exactly what it asked for and accepted.
func (m *deltaModel) compare() {
	m.t.Helper()
	o, refused := m.state.offer(m.t), 0
	for typ := range envoy.NumKinds {
		t := &m.types[typ]
		want := map[string]string{}
		for _, set := range o.layers(typ) {
			for _, r := range set.All() {
				if t.wanted(r.Name) {
					want[r.Name] = r.Version
				}
			}
		}
		got := maps.Clone(t.has)
		maps.Copy(got, t.offered)
		if diff := cmp.Diff(want, got); diff != "" {
			m.t.Errorf("%s: the proxy's resources differ from what it should hold:\n%s", typ, diff)
		}
		for name := range t.warming {
			if typ == envoy.Endpoints && t.warming[name] && want[name] != "" {
				m.t.Errorf("cluster %s changed and its endpoints were not sent again", name)
			}
		}
		if t.owes != nil {
			m.t.Errorf("%s: still sending after 100 answers", typ)
		}
		refused += len(t.refused)
		if s := &m.session.types[typ]; s.except != nil || s.sent.parts[0] != nil || s.sent.removed != nil {
			m.t.Errorf("%s: a settled session remembers names: %v %v", typ, s.except, s.sent)
		}
	}
	if got := m.session.rejected(); got != refused {
		m.t.Errorf("%d resources counted as rejected, want %d", got, refused)
	}
	wanted := 0
	for typ := range envoy.NumKinds {
		wanted += len(m.types[typ].wants)
	}
	checkFits(m.t, &m.session, wanted)
}

// checkFits checks that a session reports that many names, and that exactly that many fit the limits.
func checkFits(t *testing.T, p protocol, wanted int) {
	t.Helper()
	names, bytes := p.remembers()
	if names != wanted || bytes < names*stringSize {
		t.Errorf("the session reports %d names in %d bytes, want %d names", names, bytes, wanted)
	}
	if err := (Limits{Names: names, NameBytes: bytes}).fits(p); err != nil {
		t.Errorf("within the limits: %v", err)
	}
	for _, l := range []Limits{{Names: names - 1, NameBytes: bytes}, {Names: names, NameBytes: bytes - 1}} {
		if l.fits(p) == nil {
			t.Errorf("%d names in %d bytes fit %+v", names, bytes, l)
		}
	}
}
