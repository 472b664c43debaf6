package xds

import (
	"maps"
	"math/rand/v2"
	"strconv"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
)

// modelProxy is a proxy as the protocol's text describes it: it takes what it is sent.
type modelProxy struct {
	wildcard bool
	wants    map[string]bool
	has      map[string]string
	refused  map[string]string // name -> version that it does not want
	owes     *discoveryv3.DeltaDiscoveryResponse
}

// FuzzDelta plays random requests, answers, rejections and changes of the mesh, and asks at the end,
// once everything is answered, whether the proxy holds exactly what it asked for and accepted.
func FuzzDelta(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		script := make([]byte, 10+random.IntN(120))
		for i := range script {
			script[i] = byte(random.IntN(256))
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		for _, typ := range []resourceType{clusters, secrets} {
			playDelta(t, typ, script)
		}
	})
}

func playDelta(t *testing.T, typ resourceType, script []byte) {
	session := &deltaSession{}
	st := state{typ: {"a": 1, "b": 1}}
	p := &modelProxy{wants: map[string]bool{}, has: map[string]string{}, refused: map[string]string{}}
	p.first(session, typ)
	for i := 0; i+1 < len(script); i += 2 {
		name := string(rune('a' + script[i+1]%5))
		switch script[i] % 8 {
		case 0, 1:
			st[typ][name] = int(script[i+1]) + 1
		case 2:
			delete(st[typ], name)
		case 3:
			p.wants[name] = true
			delete(p.refused, name)
			session.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURLs[typ], ResourceNamesSubscribe: []string{name}})
		case 4:
			if p.wants[name] {
				delete(p.wants, name)
				delete(p.has, name)
				delete(p.refused, name)
				session.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURLs[typ], ResourceNamesUnsubscribe: []string{name}})
			}
		case 5:
			p.receive(session.next(st.offer(t)))
		case 6:
			p.answer(session, "")
		case 7:
			p.answer(session, "no")
		}
	}
	for range 100 {
		p.answer(session, "")
		if p.receive(session.next(st.offer(t))); p.owes == nil {
			break
		}
	}
	p.compare(t, typ, st.offer(t))
}

func (p *modelProxy) first(session *deltaSession, typ resourceType) {
	p.wildcard = typ.mayBeWildcard()
	session.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURLs[typ]})
}

func (p *modelProxy) receive(resp *discoveryv3.DeltaDiscoveryResponse) {
	if resp == nil {
		return
	}
	p.owes = resp
}

func (p *modelProxy) answer(session *deltaSession, complaint string) {
	if p.owes == nil {
		return
	}
	req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: p.owes.GetTypeUrl(), ResponseNonce: p.owes.GetNonce()}
	if complaint != "" {
		req.ErrorDetail = &rpcstatus.Status{Message: complaint}
	}
	for _, r := range p.owes.GetResources() {
		if !p.wildcard && !p.wants[r.GetName()] {
			continue // it has unsubscribed meanwhile
		}
		if complaint != "" {
			p.refused[r.GetName()] = r.GetVersion()
			continue
		}
		p.has[r.GetName()] = r.GetVersion()
		delete(p.refused, r.GetName())
	}
	for _, name := range p.owes.GetRemovedResources() {
		delete(p.has, name)
		delete(p.refused, name)
	}
	p.owes = nil
	session.handle(req)
}

func (p *modelProxy) compare(t *testing.T, typ resourceType, o offer) {
	t.Helper()
	want, got := map[string]string{}, maps.Clone(p.has)
	for _, r := range o.all(typ) {
		if !p.wildcard && !p.wants[r.Name] {
			continue
		}
		want[r.Name] = r.Version
		if p.refused[r.Name] == r.Version {
			got[r.Name] = r.Version // it was offered, which is all that can be done
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: the proxy's resources differ from what it should hold:\n%s", typ.name(), diff)
	}
	if p.owes != nil {
		t.Errorf("%s: still talking after %s answers", typ.name(), strconv.Itoa(100))
	}
}
