package xds

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// refuse waits for the next response and refuses it.
func (d *memoryDelta) refuse(t testing.TB) *discoveryv3.DeltaDiscoveryResponse {
	t.Helper()
	decoded := decodeDelta(t, <-d.responses)
	d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: decoded.GetTypeUrl(), ResponseNonce: decoded.GetNonce(), ErrorDetail: &rpcstatus.Status{Message: "no"}})
	return decoded
}

func TestEvidenceIsOfWhatWasAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t)
		d := r.open(t.Context(), "service0-0")
		defer d.close()
		d.ask(envoy.Clusters, nil)
		d.take(t)
		if e := r.wants("a proxy without secrets", nil); !e.At.IsZero() {
			t.Errorf("it acknowledged something at %v", e.At)
		}
		d.ask(envoy.Secrets, nil, envoy.SecretWorkload, envoy.SecretTrustBundle)
		r.wants("before the answer", nil)
		time.Sleep(time.Second)
		resp := d.take(t)
		e := r.wants("acknowledged", r.before, r.before)
		var secret tlsv3.Secret
		if err := resp.GetResources()[1].GetResource().UnmarshalTo(&secret); err != nil {
			t.Fatal(err)
		}
		leaf := parsePEM(t, secret.GetTlsCertificate().GetCertificateChain().GetInlineBytes())
		if e.Serial != leaf.SerialNumber.Text(16) || !e.NotAfter.Equal(leaf.NotAfter) || !e.At.Equal(time.Now()) {
			t.Errorf("certificate %s until %v at %v, want %s until %v now", e.Serial, e.NotAfter, e.At, leaf.SerialNumber.Text(16), leaf.NotAfter)
		}
		// An answer about another type changes nothing.
		time.Sleep(time.Second)
		d.ask(envoy.Listeners, nil)
		d.take(t)
		if again := r.only(); !again.At.Equal(e.At) {
			t.Errorf("acknowledged at %v after listeners, want %v", again.At, e.At)
		}
	})
}

// A proxy does not hold what it refuses, not even after it accepts something else.
func TestEvidenceIsNotOfWhatWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t)
		d := r.askSecrets(t.Context(), "service0-0", nil)
		defer d.close()
		d.refuse(t)
		r.wants("all refused", nil)
		if _, _, known := r.EarliestExpiry(); known {
			t.Error("a refused certificate has an expiry")
		}
		d.ask(envoy.Secrets, nil, envoy.SecretWorkload, envoy.SecretTrustBundle)
		d.take(t)
		first := r.wants("asked again", r.before, r.before)

		r.trustIn(r.before, r.after)
		if got := summary(d.refuse(t)); got != "sds trust-bundle" {
			t.Fatalf("got %q, want the bundle", got)
		}
		r.wants("bundle refused", r.before, r.before)
		r.reissue()
		if got := summary(d.take(t)); got != "sds workload" {
			t.Fatalf("got %q, want the certificate", got)
		}
		renewed := r.only()
		if d := cmp.Diff([]string{r.before.Trust().Fingerprint}, renewed.Trusts); d != "" || renewed.Serial == first.Serial {
			t.Errorf("only the certificate was accepted, but it trusts:\n%s", d)
		}

		r.trustIn(r.after)
		d.take(t)
		taken := r.wants("the next bundle", r.after, r.after)
		r.signs.Authority = r.before
		r.leaves.Reissue(0)
		if got := summary(d.refuse(t)); got != "sds workload" {
			t.Fatalf("got %q, want the certificate", got)
		}
		if now := r.wants("certificate refused", r.after, r.after); now.Serial != taken.Serial {
			t.Errorf("certificate %s, want %s as before", now.Serial, taken.Serial)
		}
		if at, _, _ := r.EarliestExpiry(); !at.Equal(taken.NotAfter) {
			t.Errorf("earliest expiry %v, want %v, that of the certificate it kept", at, taken.NotAfter)
		}
	})
}

func TestEvidenceThroughARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t)
		d := r.askSecrets(t.Context(), "service0-0", nil)
		defer d.close()
		d.take(t)
		first := r.wants("before", r.before, r.before)

		time.Sleep(time.Minute)
		r.trustIn(r.before, r.after)
		r.wants("the bundle is on its way", r.before, r.before)
		d.take(t)
		both := r.wants("trust both", r.before, r.before, r.after)
		if both.At.Sub(first.At) != time.Minute || both.Serial != first.Serial {
			t.Errorf("certificate %s, acknowledged %v later, want %s and a minute", both.Serial, both.At.Sub(first.At), first.Serial)
		}

		time.Sleep(time.Minute)
		r.trustIn(r.after, r.before)
		d.take(t) // a different order: different bytes
		r.reissue()
		synctest.Wait()
		r.wants("the certificate is on its way", r.before, r.before, r.after)
		d.take(t)
		if e := r.wants("renewed", r.after, r.before, r.after); e.Serial == first.Serial || e.At.Sub(both.At) != time.Minute {
			t.Errorf("certificate %s at %v", e.Serial, e.At)
		}

		r.trustIn(r.after)
		r.wants("it may use either bundle", r.after, r.after)
		d.take(t)
		r.wants("the old root is dropped", r.after, r.after)
	})
}

func TestEvidenceOfWhatAProxyBrought(t *testing.T) {
	const serial = "0123456789abcdef"
	cases := []struct {
		name   string
		bundle string // the version it reports, "now" for the right one
		root   func(r *rotating) string
		trusts bool
		known  bool // the CA that signed
	}{
		{name: "all correct", bundle: "now", root: func(r *rotating) string { return r.before.Trust().Fingerprint }, trusts: true, known: true},
		{name: "an older bundle", bundle: "0123", root: func(r *rotating) string { return r.before.Trust().Fingerprint }, known: true},
		{name: "no bundle", root: func(r *rotating) string { return r.before.Trust().Fingerprint }, known: true},
		{name: "an unknown CA", bundle: "now", root: func(r *rotating) string { return r.after.Trust().Fingerprint }, trusts: true},
		{name: "an unknown signer", bundle: "now", root: func(*rotating) string { return "unknown" }, trusts: true},
		{name: "no signer", bundle: "now", root: func(*rotating) string { return "" }, trusts: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRotating(t)
				r.signs.broken.Store(true) // so that what it brought is not replaced
				h := certVersion{root: truncate(c.root(r), rootPrefix), notAfter: time.Now().Add(time.Hour).Truncate(time.Second), renewAt: time.Now().Add(time.Minute), serial: serial}
				holds := map[string]string{envoy.SecretWorkload: h.String()}
				if c.bundle != "" {
					holds[envoy.SecretTrustBundle] = strings.Replace(c.bundle, "now", r.Server.trust.Load().version, 1)
				}
				d := r.askSecrets(t.Context(), "service0-0", holds)
				defer d.close()
				e := r.only()
				want := rotation.Proxy{Pod: e.Pod, Identity: e.Identity, Serial: serial, NotAfter: h.notAfter, At: time.Now()}
				if c.trusts {
					want.Trusts = []string{r.before.Trust().Fingerprint}
				}
				if c.known {
					want.Root = r.before.Trust().Fingerprint
				}
				if d := cmp.Diff(want, e); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

// A proxy that moves to another replica counts there with what it holds, until it acknowledges something newer.
func TestEvidenceAfterAReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t)
		d := r.askSecrets(t.Context(), "service0-0", nil)
		holds := versionsOf(d.take(t))
		first := r.wants("before", r.before, r.before)
		d.close()
		if n := len(r.Evidence()); n != 0 {
			t.Errorf("evidence of %d disconnected proxies", n)
		}
		d = r.askSecrets(t.Context(), "service0-0", holds)
		e := r.wants("reconnected", r.before, r.before)
		if e.Serial != truncate(first.Serial, 16) || !e.NotAfter.Equal(first.NotAfter) {
			t.Errorf("certificate %s until %v, want %s until %v", e.Serial, e.NotAfter, first.Serial, first.NotAfter)
		}
		d.close()

		r.trustIn(r.before, r.after)
		d = r.askSecrets(t.Context(), "service0-0", holds)
		r.wants("with an older bundle", r.before)
		d.take(t)
		r.wants("brought further", r.before, r.before, r.after)
		r.reissue()
		d.take(t)
		if e := r.wants("renewed", r.after, r.before, r.after); e.Serial == first.Serial || len(e.Serial) <= 16 {
			t.Errorf("certificate %s, want a whole new serial", e.Serial)
		}
		d.close()
	})
}

func TestEvidenceOfTheStateOfTheWorld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t)
		ctx, stop := context.WithCancel(proven(t.Context(), r.clientCAs(), "service0", time.Now().Add(time.Hour), nil))
		w := &memoryWire[*discoveryv3.DiscoveryRequest]{ctx, make(chan *discoveryv3.DiscoveryRequest), make(chan *response, 4)}
		done := make(chan error, 1)
		go func() { done <- run(r.Server, w, &sotwSession{lists: r.lists}, variantSotw) }()
		ask := func(nonce string, problem *rpcstatus.Status) {
			w.requests <- &discoveryv3.DiscoveryRequest{
				Node: nodeOf("service0-0"), TypeUrl: envoy.TypeSecret, ResourceNames: []string{envoy.SecretWorkload, envoy.SecretTrustBundle},
				ResponseNonce: nonce, ErrorDetail: problem,
			}
		}
		next := func() string { return decode(t, <-w.responses, &discoveryv3.DiscoveryResponse{}).GetNonce() }
		ask("", nil)
		first := next()
		r.wants("sent", nil)
		ask(first, nil)
		r.wants("acknowledged", r.before, r.before)
		r.trustIn(r.before, r.after)
		second := next()
		ask(first, nil) // about a response that was replaced
		r.wants("acknowledged again", r.before, r.before)
		ask(second, &rpcstatus.Status{Message: "no"})
		r.wants("refused", r.before, r.before)
		r.trustIn(r.after, r.before)
		ask(next(), nil)
		r.wants("the next one", r.before, r.before, r.after)
		stop()
		if err := <-done; err == nil {
			t.Error("the stream ended without an error when its proxy disconnected")
		}
	})
}

// Evidence is read while proxies connect, disconnect and answer.
func TestEvidenceMeanwhile(t *testing.T) {
	m := newInMemory(t)
	const proxies = 20
	m.Publish(built(t, envoy.NewBuilder(nil), regular(proxies, proxies, 1)))
	ctx, stop := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	asking.Go(func() {
		for ctx.Err() == nil {
			if all := m.Evidence(); !slices.IsSortedFunc(all, func(a, b rotation.Proxy) int { return strings.Compare(a.Pod, b.Pod) }) {
				t.Error("evidence is not sorted by pod")
			}
		}
	})
	want := make([]mesh.PodName, proxies)
	streams := make([]*memoryDelta, proxies)
	for i := range streams {
		want[i] = mesh.PodName{Namespace: "shop", Name: fmt.Sprintf("service%d-%d", i, i)}
		streams[i] = m.askSecrets(t.Context(), want[i].Name, nil)
		streams[i].take(t)
	}
	slices.SortFunc(want, mesh.PodName.Compare)
	if d := cmp.Diff(want, m.ConnectedPods()); d != "" {
		t.Errorf("connected pods differ:\n%s", d)
	}
	for _, d := range streams {
		d.close()
	}
	stop()
	asking.Wait()
	if n := len(m.ConnectedPods()); n != 0 {
		t.Errorf("%d pods are still connected", n)
	}
}

func parsePEM(t *testing.T, data []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatal("no PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
