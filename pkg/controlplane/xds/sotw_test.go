package xds

import (
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

func toldAll(t *testing.T, resp *discoveryv3.DiscoveryResponse) string {
	t.Helper()
	if resp == nil {
		return ""
	}
	typ, _ := typeOf(resp.GetTypeUrl())
	words := []string{typ.name()}
	for _, body := range resp.GetResources() {
		m, err := body.UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		if named, ok := m.(interface{ GetClusterName() string }); ok {
			words = append(words, named.GetClusterName())
		} else {
			words = append(words, m.(interface{ GetName() string }).GetName())
		}
	}
	return strings.Join(words, " ")
}

func TestSotw(t *testing.T) {
	s := sotwSession{}
	st := state{clusters: {"a": 1, "b": 1}, endpoints: {"a": 1, "b": 1}}
	var last *discoveryv3.DiscoveryResponse
	expect := func(want string) {
		t.Helper()
		resp := s.next(st.offer(t))
		if diff := cmp.Diff(want, toldAll(t, resp)); diff != "" {
			t.Fatalf("response differs:\n%s", diff)
		}
		if resp != nil {
			last = resp
		}
	}
	answer := func(complaint string, names ...string) *rejection {
		req := &discoveryv3.DiscoveryRequest{TypeUrl: last.GetTypeUrl(), VersionInfo: last.GetVersionInfo(), ResponseNonce: last.GetNonce(), ResourceNames: names}
		if complaint != "" {
			req.ErrorDetail = &rpcstatus.Status{Message: complaint}
		}
		return s.handle(req)
	}

	// A reconnecting proxy reports the version it holds; the stream still starts with everything.
	s.handle(&discoveryv3.DiscoveryRequest{TypeUrl: envoy.TypeCluster, VersionInfo: envoy.VersionOf(st.offer(t).all(clusters))})
	expect("cds a b")
	expect("")
	answer("")
	expect("")
	st[clusters]["a"] = 2
	expect("cds a b")
	if r := answer("bad cluster"); r == nil || r.message != "bad cluster" {
		t.Errorf("rejection %v, want one that says bad cluster", r)
	}
	expect("")
	delete(st[clusters], "b")
	expect("cds a")
	answer("")

	s.handle(&discoveryv3.DiscoveryRequest{TypeUrl: envoy.TypeEndpoint, ResourceNames: []string{"b"}})
	expect("eds b")
	answer("", "a", "b")
	expect("eds a b")
	answer("", "a", "b")
	st[endpoints]["c"] = 1
	expect("")
	st[clusters]["a"] = 9
	expect("cds a")
	answer("")
	expect("eds a b") // the changed cluster waits for its endpoints
	answer("", "a", "b")
	expect("")
	s.handle(&discoveryv3.DiscoveryRequest{TypeUrl: envoy.TypeEndpoint, ResponseNonce: "stale", ResourceNames: []string{"c"}})
	expect("")
	answer("", "*")
	expect("eds a b c")
}
