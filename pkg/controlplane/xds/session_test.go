package xds

import (
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// instant is an arbitrary time: sessions only record it.
var instant = time.Unix(1700000000, 0)

// state describes an offer: per type, per name, a number that stands for the content. Names that
// begin with "own", and contents from 100 on, are in the proxy's own layer, the others in the shared
// one; the same content is 100 more there.
type state map[envoy.Kind]map[string]int

func (s state) offer(t testing.TB) offer {
	t.Helper()
	var views [2]map[envoy.Kind][]*envoy.Resource
	var secret [2][]*envoy.Resource
	for i := range views {
		views[i] = map[envoy.Kind][]*envoy.Resource{}
	}
	for typ := range envoy.NumKinds {
		for name, content := range s[typ] {
			r, err := envoy.NewResource(name, message(typ, name, content%100))
			if err != nil {
				t.Fatal(err)
			}
			layer := 0
			if strings.HasPrefix(name, "own") || content >= 100 {
				layer = 1
			}
			if typ == envoy.Secrets {
				secret[layer] = append(secret[layer], r)
			} else {
				views[layer][typ] = append(views[layer][typ], r)
			}
		}
	}
	return offer{
		view:  envoy.View{Shared: envoy.NewLayer(views[0]), Own: envoy.NewLayer(views[1])},
		trust: envoy.NewSet(secret[0]), workload: envoy.NewSet(secret[1]),
	}
}

// message returns a valid message of the type whose bytes depend on content.
func message(typ envoy.Kind, name string, content int) proto.Message {
	switch typ {
	case envoy.Endpoints:
		return &endpointv3.ClusterLoadAssignment{ClusterName: name, Policy: &endpointv3.ClusterLoadAssignment_Policy{EndpointStaleAfter: durationpb.New(time.Duration(content+1) * time.Second)}}
	case envoy.Listeners:
		return &listenerv3.Listener{Name: name, StatPrefix: strings.Repeat("x", content+1)}
	case envoy.Routes:
		return &routev3.RouteConfiguration{Name: name, InternalOnlyHeaders: []string{strings.Repeat("x", content+1)}}
	case envoy.Secrets:
		return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{Secret: inline([]byte(strings.Repeat("x", content+1)))}}}
	default:
		return &clusterv3.Cluster{Name: name, AltStatName: strings.Repeat("x", content+1)}
	}
}

// decode reads a response as a proxy does; into must be of the stream's variant.
func decode[M proto.Message](t testing.TB, resp *response, into M) M {
	t.Helper()
	encoded := resp.buffers.Materialize()
	if len(encoded) != resp.size {
		t.Fatalf("a response of %d bytes reports a size of %d", len(encoded), resp.size)
	}
	if err := proto.Unmarshal(encoded, into); err != nil {
		t.Fatalf("decode a response: %v", err)
	}
	return into
}

func decodeDelta(t testing.TB, resp *response) *discoveryv3.DeltaDiscoveryResponse {
	t.Helper()
	if resp == nil {
		return nil
	}
	return decode(t, resp, &discoveryv3.DeltaDiscoveryResponse{})
}

// summary describes a response: "cds a b" or "cds -a -b".
func summary(resp *discoveryv3.DeltaDiscoveryResponse) string {
	if resp == nil {
		return ""
	}
	typ, _ := envoy.KindOf(resp.GetTypeUrl())
	words := []string{typ.String()}
	for _, r := range resp.GetResources() {
		words = append(words, r.GetName())
	}
	for _, name := range resp.GetRemovedResources() {
		words = append(words, "-"+name)
	}
	return strings.Join(words, " ")
}

// deltaProxy simulates a proxy of a deltaSession.
type deltaProxy struct {
	t       *testing.T
	session deltaSession
	state   state
}

func newDeltaProxy(t *testing.T, s state) *deltaProxy {
	return &deltaProxy{t: t, session: deltaSession{lists: newNameLists()}, state: s}
}

func (p *deltaProxy) handle(req *discoveryv3.DeltaDiscoveryRequest) ack {
	return p.session.handle(req, p.state.offer(p.t), instant)
}

func (p *deltaProxy) next() *discoveryv3.DeltaDiscoveryResponse {
	p.t.Helper()
	return decodeDelta(p.t, p.session.next(p.state.offer(p.t), instant))
}

func (p *deltaProxy) ask(typ envoy.Kind, subscribe ...string) {
	p.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typ.TypeURL(), ResourceNamesSubscribe: subscribe})
}

func (p *deltaProxy) drop(typ envoy.Kind, names ...string) {
	p.handle(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typ.TypeURL(), ResourceNamesUnsubscribe: names})
}

// settle takes and acknowledges responses until there are none, and returns their summaries.
func (p *deltaProxy) settle() []string {
	p.t.Helper()
	var all []string
	for {
		var round []*discoveryv3.DeltaDiscoveryResponse
		for resp := p.next(); resp != nil; resp = p.next() {
			round = append(round, resp)
			all = append(all, summary(resp))
		}
		if len(round) == 0 {
			return all
		}
		for _, resp := range round {
			p.answer(resp, "")
		}
	}
}

func (p *deltaProxy) answer(resp *discoveryv3.DeltaDiscoveryResponse, complaint string) *rejection {
	req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()}
	if complaint != "" {
		req.ErrorDetail = &rpcstatus.Status{Message: complaint}
	}
	return p.handle(req).rejection
}

func (p *deltaProxy) expect(want ...string) {
	p.t.Helper()
	if diff := cmp.Diff(want, p.settle()); diff != "" {
		p.t.Errorf("responses differ:\n%s", diff)
	}
}

func subscribed(t *testing.T) *deltaProxy {
	t.Helper()
	p := newDeltaProxy(t, state{
		envoy.Clusters: {"a": 1, "b": 1}, envoy.Endpoints: {"a": 1, "b": 1}, envoy.Listeners: {"own": 1}, envoy.Routes: {"r": 1}, envoy.Secrets: {"s": 1, "own": 1},
	})
	p.ask(envoy.Clusters)
	p.ask(envoy.Endpoints, "a", "b")
	p.ask(envoy.Secrets, "s", "own")
	p.ask(envoy.Listeners)
	p.ask(envoy.Routes, "r")
	p.expect("cds a b", "eds a b", "sds s own", "lds own", "rds r")
	return p
}
