package fleet

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newFleet returns a fleet of n proxies that is closed with the test.
func newFleet(t *testing.T, c *controlPlane, n int) *Fleet {
	t.Helper()
	f := New(Config{Targets: []string{c.address}, Seed: 1})
	t.Cleanup(f.Close)
	for i := range n {
		f.Add(Proxy{Node: fmt.Sprintf("ns/pod-%d", i), TLS: c.client})
	}
	return f
}

func configured(t *testing.T, f *Fleet) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := f.AwaitConfigured(ctx); err != nil {
		t.Fatal(err)
	}
}

// eventually polls: there is no signal for what other processes observe.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not after 30 s: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestFleetIsConfigured(t *testing.T) {
	c := newControlPlane(t)
	c.serve(3, "")
	f := newFleet(t, c, 5)
	configured(t, f)
	s := f.Stats()
	for k := range NumKinds {
		if s.Messages[k] != 5 || s.Bytes[k] == 0 {
			t.Errorf("%s: %d messages, %d bytes; want one message for each of 5 proxies", k, s.Messages[k], s.Bytes[k])
		}
	}
	if messages, _ := s.Total(CDS, EDS); messages != 10 {
		t.Errorf("%d messages of CDS and EDS, want 10", messages)
	}
	if s.Resources[EDS] != 15 || s.Streams != 5 || s.Connections != 5 {
		t.Errorf("got %+v", s)
	}
}

// TestLargeMessages goes beyond the send and receive windows in both directions: the responses are
// larger than a frame, and the versions that a reconnect reports larger than the server's window.
func TestLargeMessages(t *testing.T) {
	c := newControlPlane(t)
	c.serve(1500, strings.Repeat("x", 80))
	f := newFleet(t, c, 2)
	configured(t, f)
	before := f.Stats()
	if before.Bytes[CDS] < 2*100<<10 {
		t.Fatalf("%d bytes of CDS are not large", before.Bytes[CDS])
	}
	f.Cut(false)
	eventually(t, "both are back", func() bool { return c.opened.Load() == 4 })
	c.change("cluster-0000"+strings.Repeat("x", 80), "2", "10.9.9.9")
	// Each may get it twice: as a change, and because its first request does not list it.
	eventually(t, "both have the change", func() bool { return f.Stats().Sub(before).Messages[EDS] >= 2 })
	if came := f.Stats().Sub(before); came.Messages[CDS] != 0 || came.Messages[LDS] != 0 || came.Resources[EDS] > 4 {
		t.Errorf("a reconnect that held everything received %+v", came)
	}
}

func TestRefusedProxiesComeBack(t *testing.T) {
	c := newControlPlane(t)
	c.serve(1, "")
	c.refusals.Store(3)
	f := newFleet(t, c, 2)
	configured(t, f)
	s := f.Stats()
	if s.Refused["ResourceExhausted"] != 3 || s.Refusals() != 3 {
		t.Errorf("refused %v, want 3", s.Refused)
	}
	if s.Connections != 2 {
		t.Errorf("%d connections: a refused stream must not cost its connection", s.Connections)
	}
	if !strings.Contains(s.Troubles(), "refused 3 (ResourceExhausted)") {
		t.Errorf("troubles: %s", s.Troubles())
	}
}

func TestCutWithAndWithoutMemory(t *testing.T) {
	c := newControlPlane(t)
	c.serve(2, "")
	f := newFleet(t, c, 3)
	configured(t, f)
	before := f.Stats()
	f.Cut(false)
	if n, _ := f.Configured(); n != 3 {
		t.Errorf("%d of 3 are configured after a cut", n)
	}
	eventually(t, "all are back", func() bool { return c.opened.Load() == 6 })
	f.Cut(true)
	configured(t, f)
	if came := f.Stats().Sub(before); came.Messages[CDS] != 3 {
		t.Errorf("%d messages of CDS: want none after the first cut, and one each after the second", came.Messages[CDS])
	}
}

func TestServerThatGoesAway(t *testing.T) {
	old, next := newControlPlane(t), newControlPlane(t)
	old.serve(1, "")
	next.serve(1, "")
	next.client = old.client
	f := newFleet(t, old, 2)
	configured(t, f)
	f.Route(next.address) // whose certificate is not trusted
	old.grpc.Stop()
	eventually(t, "TLS errors are counted", func() bool {
		return strings.Contains(f.Stats().Troubles(), "unknown authority")
	})
	if next.opened.Load() != 0 {
		t.Error("a stream to an untrusted server")
	}
	f.Route()
	eventually(t, "no replica at all", func() bool { return strings.Contains(f.Stats().Troubles(), "no replica to connect to") })
}

func TestRemove(t *testing.T) {
	c := newControlPlane(t)
	c.serve(1, "")
	f := newFleet(t, c, 2)
	configured(t, f)
	if err := f.Remove("ns/pod-0"); err != nil {
		t.Fatal(err)
	}
	if f.Size() != 1 || f.Remove("ns/pod-0") == nil {
		t.Error("still there after Remove")
	}
	eventually(t, "its stream ends", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.pushes) == 1
	})
}

func TestProbe(t *testing.T) {
	c := newControlPlane(t)
	c.serve(2, "")
	f := newFleet(t, c, 4)
	f.Add(Proxy{Node: "ns/partial", TLS: c.client, Only: func(name string) bool { return name != "cluster-0001" }})
	configured(t, f)
	if _, err := f.Probe("10.1.1.1", true, "10.1.1.2"); err == nil {
		t.Error("a probe of unknown endpoints")
	}
	probe, err := f.Probe("10.0.0.1", false, "10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Probe("10.0.0.1", false, "10.0.0.1"); err == nil {
		t.Error("two probes of one resource")
	}
	c.change("cluster-0001", "2", "10.0.0.1", "10.0.0.77") // not the awaited change
	c.change("cluster-0001", "3", "10.0.0.77")
	latencies, missing := probe.Result(t.Context())
	if len(latencies) != 4 || missing != 0 {
		t.Errorf("%d latencies and %d missing, want those of the 4 that asked", len(latencies), missing)
	}
	// Another probe of the resource is possible; this time nothing arrives.
	probe, err = f.Probe("10.0.0.1", true, "10.0.0.77")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if latencies, missing := probe.Result(ctx); len(latencies) != 0 || missing != 4 {
		t.Errorf("%d latencies and %d missing of a change that was never made", len(latencies), missing)
	}
}

func TestProbeAmong(t *testing.T) {
	c := newControlPlane(t)
	c.serve(1, "")
	f := newFleet(t, c, 3)
	configured(t, f)
	before := f.Messages()
	if len(before) != 3 || before["ns/pod-0"] != int64(NumKinds) {
		t.Errorf("received %v, want a message of each kind for each of 3 proxies", before)
	}
	if _, err := f.ProbeAmong(func(string) bool { return false }, "10.0.0.0", false, "10.0.0.0"); err == nil {
		t.Error("a probe without expected proxies")
	}
	probe, err := f.ProbeAmong(func(node string) bool { return node == "ns/pod-1" }, "10.0.0.0", false, "10.0.0.0")
	if err != nil {
		t.Fatal(err)
	}
	c.change("cluster-0000", "2", "10.0.0.77")
	if latencies, missing := probe.Result(t.Context()); len(latencies) != 1 || missing != 0 {
		t.Errorf("%d latencies and %d missing, want that of the proxy that is expected", len(latencies), missing)
	}
	eventually(t, "all have received it, expected or not", func() bool {
		now := f.Messages()
		return now["ns/pod-0"] > before["ns/pod-0"] && now["ns/pod-1"] > before["ns/pod-1"] && now["ns/pod-2"] > before["ns/pod-2"]
	})
}

func TestWrongResponsesAreReported(t *testing.T) {
	c := newControlPlane(t)
	c.serve(1, "")
	c.content[CDS] = []versioned{{"a", "1", wrapperspb.Bytes([]byte{0xff})}} // a name that is not UTF-8
	f := newFleet(t, c, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := f.AwaitConfigured(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("got %v, want an error about the cluster", err)
	}
}
