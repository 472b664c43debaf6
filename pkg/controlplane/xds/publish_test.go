package xds

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/osm-edge/osm/pkg/api/debug"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// table is a source with fixed Views that counts the look-ups.
type table struct {
	views map[string]envoy.View
	asked atomic.Int64
}

func (s *table) View(pod mesh.PodName) (envoy.View, *mesh.Workload) {
	s.asked.Add(1)
	view, ok := s.views[pod.Name]
	if !ok {
		return envoy.View{}, nil
	}
	return view, &mesh.Workload{Name: pod, Identity: identity.Identity{Namespace: "shop", ServiceAccount: accountOf(pod.Name)}}
}

func (s *table) InForce(shared *envoy.Layer) bool {
	for _, view := range s.views {
		if view.Shared == shared {
			return true
		}
	}
	return false
}

func TestPublishGivesATurnOnlyToThoseThatItConcerns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newInMemory(t)
		one, two := state{envoy.Clusters: {"a": 1, "own": 1}}.offer(t).view, state{envoy.Clusters: {"a": 1, "own": 2}}.offer(t).view
		two.Shared = one.Shared
		m.publish(&table{views: map[string]envoy.View{"x-0": one, "y-0": one}})
		x, y := m.open(t.Context(), "x-0"), m.open(t.Context(), "y-0")
		for _, d := range []*memoryDelta{x, y} {
			d.ask(envoy.Clusters, nil)
			d.take(t)
		}
		synctest.Wait()

		same := &table{views: map[string]envoy.View{"x-0": one, "y-0": one}}
		m.publish(same)
		x.quiet(t)
		y.quiet(t)
		if n := same.asked.Load(); n != 2 {
			t.Errorf("%d look-ups for two proxies that have everything: want no turn", n)
		}
		changed := &table{views: map[string]envoy.View{"x-0": one, "y-0": two}}
		m.publish(changed)
		if got := summary(y.take(t)); got != "cds own" {
			t.Errorf("got %q, want cds own", got)
		}
		x.quiet(t)
		if n := changed.asked.Load(); n != 3 {
			t.Errorf("%d look-ups, want one each and one more for the proxy that is concerned", n)
		}
		x.close()
		y.close()
	})
}

// A pod that is not known yet is served as soon as it is; one that stays unknown leaves nothing behind.
// A change of what only a class has reaches every stream of the class. Fails if one of them stands for all.
func TestPublishReachesEveryStreamOfAClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newInMemory(t)
		before, after := state{envoy.Clusters: {"own": 1}}.offer(t).view, state{envoy.Clusters: {"own": 2}}.offer(t).view
		after.Shared = before.Shared
		was, is := map[string]envoy.View{}, map[string]envoy.View{}
		var class []*memoryDelta
		for i := range 10 {
			pod := fmt.Sprintf("x-%d", i)
			was[pod], is[pod] = before, after
		}
		m.publish(&table{views: was})
		for pod := range was {
			d := m.open(t.Context(), pod)
			d.ask(envoy.Clusters, nil)
			d.take(t)
			class = append(class, d)
		}
		m.publish(&table{views: is})
		for _, d := range class {
			if got := summary(d.takeNow(t)); got != "cds own" {
				t.Errorf("%s was sent %q, want the new own cluster", d.pod, got)
			}
			d.close()
		}
	})
}

func TestPublishLetsInWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newInMemory(t)
		view := state{envoy.Clusters: {"a": 1}}.offer(t).view
		m.publish(&table{})
		late, never := m.open(t.Context(), "late-0"), m.open(t.Context(), "never-0")
		for _, d := range []*memoryDelta{late, never} {
			d.ask(envoy.Clusters, nil)
		}
		synctest.Wait()
		time.Sleep(time.Second)
		before := time.Now()
		m.publish(&table{views: map[string]envoy.View{"late-0": view}})
		if got := summary(late.take(t)); got != "cds a" || !time.Now().Equal(before) {
			t.Errorf("got %q after %v, want cds a at once", got, time.Since(before))
		}
		if err := <-never.done; status.Code(err) != codes.Unavailable {
			t.Errorf("the unknown pod's stream ended with %v, want Unavailable", err)
		}
		if len(m.waiters) != 0 {
			t.Errorf("%d streams still wait", len(m.waiters))
		}
		late.close()
	})
}

func TestRejectionIsVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged strings.Builder
		m := newInMemory(t, func(cfg *Config) { cfg.Log = textLog(&logged) })
		m.publish(&table{views: map[string]envoy.View{"x-0": state{envoy.Clusters: {"a": 1, "b": 1, "own": 1}}.offer(t).view}})
		d := m.open(t.Context(), "x-0")
		d.ask(envoy.Clusters, nil)
		resp := decodeDelta(t, <-d.responses)
		d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: envoy.Clusters.TypeURL(), ResponseNonce: resp.GetNonce(), ErrorDetail: &rpcstatus.Status{Message: "no such filter"}})
		d.quiet(t)
		if n, r := testutil.ToFloat64(m.metrics.nacks[envoy.Clusters]), testutil.ToFloat64(m.metrics.rejected); n != 1 || r != 3 {
			t.Errorf("%v rejected responses and %v resources counted, want 1 and 3", n, r)
		}
		now := time.Now().UTC()
		want := debug.XDS{Proxies: []debug.Proxy{{
			Pod: "shop/x-0", Identity: "shop/x", Variant: "delta", Since: now,
			Types: []debug.Type{{Type: "cds", Wildcard: true, LastPush: &now, Version: layers(m.source().(*table).views["x-0"].Sets(envoy.Clusters)).version(), Rejected: []debug.Rejection{
				{Resources: []string{"a", "b", "own"}, Count: 3, Message: "no such filter", At: now, Times: 1},
			}}},
		}}}
		got := m.Debug()
		got.Proxies[0].Since = got.Proxies[0].Since.UTC()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("debug state differs:\n%s", diff)
		}
		for _, part := range []string{"level=ERROR", "pod=shop/x-0", "type=cds", `reason="no such filter"`, "[a b own]"} {
			if !strings.Contains(logged.String(), part) {
				t.Errorf("the log says %q, want %s in it", logged.String(), part)
			}
		}
		d.close()
		if r := testutil.ToFloat64(m.metrics.rejected); r != 0 {
			t.Errorf("%v resources rejected by disconnected proxies", r)
		}
		if got := m.Debug(); len(got.Proxies) != 0 {
			t.Errorf("a disconnected proxy is still listed: %+v", got)
		}
	})
}

// The report of a rejection is bounded.
func TestDebugIsBounded(t *testing.T) {
	rs := rejections{}
	what := sent{}
	for i := range 1000 {
		what.parts[0] = append(what.parts[0], &envoy.Resource{Name: fmt.Sprintf("r%04d", i)})
	}
	rs.reject(what, strings.Repeat("x", 1<<20), instant, func(string) bool { return true })
	if r := rs.report()[0]; len(r.Resources) != maxNames || r.Count != 1000 || len(r.Message) != messageLimit {
		t.Errorf("%d names of %d, %d bytes", len(r.Resources), r.Count, len(r.Message))
	}
}

// Another replica does not send what the proxy already holds.
func TestFailoverCostsNothing(t *testing.T) {
	a := newAuthority(t)
	first, second := replica(t, a, a.Trust), replica(t, a, a.Trust)
	snapshot := regular(20, 20, 1)
	first.Publish(built(t, envoy.NewBuilder(nil), snapshot))
	second.Publish(built(t, envoy.NewBuilder(nil), snapshot))
	view, _ := first.source().View(mesh.PodName{Namespace: "shop", Name: "service0-0"})
	subscribe := map[envoy.Kind][]string{
		envoy.Endpoints: namesOf(view, envoy.Endpoints), envoy.Secrets: {envoy.SecretWorkload, envoy.SecretTrustBundle}, envoy.Routes: namesOf(view, envoy.Routes),
	}
	d, holds := first.open(t.Context(), "service0-0"), map[envoy.Kind]map[string]string{}
	for typ := range envoy.NumKinds {
		d.ask(typ, nil, subscribe[typ]...)
		holds[typ] = versionsOf(d.take(t))
	}
	d.close()

	d = second.open(t.Context(), "service0-0")
	for typ := range envoy.NumKinds {
		d.ask(typ, holds[typ], subscribe[typ]...)
	}
	// The next change is the first response.
	second.Publish(built(t, envoy.NewBuilder(nil), regular(20, 20, 2)))
	if got := summary(d.take(t)); got != "eds shop/service0|80" {
		t.Errorf("got %q, want the changed endpoint only", got)
	}
	d.close()
	for typ := range envoy.NumKinds {
		if bytes := testutil.ToFloat64(second.metrics.bytes[typ]); bytes > 0 && typ != envoy.Endpoints || bytes > 1000 {
			t.Errorf("%v bytes of %s", bytes, typ)
		}
	}
}

// After 500 proxies have connected and disconnected, nothing is left of them.
func TestMemoryReturns(t *testing.T) {
	const proxies = 500
	a := newAuthority(t)
	m := replica(t, a, a.Trust)
	config := built(t, envoy.NewBuilder(nil), regular(proxies, proxies, 1))
	m.Publish(config)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	streams := make([]*memoryDelta, proxies)
	for i := range streams {
		streams[i] = m.open(ctx, fmt.Sprintf("service%d-%d", i, i))
		streams[i].ask(envoy.Endpoints, nil, "shop/service0|80", fmt.Sprintf("shop/service%d|80", i)) // lists that no two share
		streams[i].take(t)
		streams[i].ask(envoy.Secrets, nil, envoy.SecretWorkload, envoy.SecretTrustBundle)
		streams[i].take(t)
	}
	if n := m.lists.len(); n != proxies+1 || m.leafSets.len() != proxies || m.Connected() != proxies {
		t.Fatalf("%d lists, %d certificates, %d streams", n, m.leafSets.len(), m.Connected())
	}
	for _, d := range streams {
		d.close()
	}
	clear(streams)
	deadline := time.Now().Add(time.Minute)
	for m.lists.len()+m.leafSets.len() > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d lists and %d certificates are left", m.lists.len(), m.leafSets.len())
		}
		runtime.GC() // cleanups run some time after the collection
		runtime.Gosched()
	}
	if m.Connected() != 0 || len(m.waiters) != 0 || len(m.slots.held) != 0 {
		t.Errorf("%d streams, %d waiters, %d turns left", m.Connected(), len(m.waiters), len(m.slots.held))
	}
}

// Streams that ask for the same names share one list.
func TestNameListsAreShared(t *testing.T) {
	lists := newNameLists()
	a, b := lists.of([]string{"x", "y", "x", "*"}), lists.of([]string{"y", "x"})
	if a != b || a == nil || !a.has("x") || a.has("*") || a.has("z") {
		t.Errorf("%v and %v, want one list of x and y", a, b)
	}
	if c := lists.change(a, []string{"z"}, []string{"z"}); c != a {
		t.Errorf("%v, want the same list again", c.all())
	}
	if c := lists.change(a, nil, []string{"x", "y"}); c != nil || c.has("x") {
		t.Errorf("%v, want the empty list", c.all())
	}
	if d := cmp.Diff([]string{"w", "x", "y"}, lists.change(a, []string{"w"}, nil).all()); d != "" {
		t.Error(d)
	}
}

// A proxy that subscribes to more and more names loses its stream before the memory is full.
func TestSubscriptionsAreBounded(t *testing.T) {
	m := newInMemory(t)
	m.Publish(built(t, envoy.NewBuilder(nil), regular(1, 1, 1)))
	d := m.open(t.Context(), "service0-0")
	go func() {
		for i := range 5 {
			d.ask(envoy.Endpoints, nil, strings.Repeat("x", m.cfg.Limits.NameBytes/4)+fmt.Sprint(i))
		}
	}()
	for {
		select {
		case <-d.responses: // the endpoints do not exist
		case err := <-d.done:
			if status.Code(err) != codes.ResourceExhausted {
				t.Errorf("ended with %v, want ResourceExhausted", err)
			}
			d.stop()
			return
		}
	}
}
