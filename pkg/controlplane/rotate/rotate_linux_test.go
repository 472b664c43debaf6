package rotate_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/rotate"
)

type objects = map[string]v1alpha2.MeshRootCertificate

// TestRotation rotates on a real API server: the driver moves to another replica in each phase,
// somebody else writes to the objects all the time, a proxy that does not acknowledge holds it up
// and is named, and the way back works until the old root is dropped. All the while whoever signs is
// trusted by everybody.
func TestRotation(t *testing.T) {
	w := newTown(t)
	first := w.add("osm-controller-a", api.AppController, "127.0.0.2")
	second := w.add("osm-controller-b", api.AppController, "127.0.0.3")
	w.webhook()
	w.injector("osm-injector-a", "127.0.0.4")
	w.run(w.presented)
	old := first.provider.Roots.Trust().Fingerprint
	w.make("one", api.CABundleSecret, v1alpha2.RootRoleActive)
	w.make("two", api.CABundleSecret+"-next", v1alpha2.RootRoleInactive)
	w.run(w.meddle)

	w.lag(true)
	w.ask("two")
	lead := w.lead(first)
	w.await("it waits for the proxy that lags, by name", func(o objects) bool {
		two := o["two"]
		c := two.Status.Conditions
		return two.Spec.Role == v1alpha2.RootRolePassive && len(c) == 1 && c[0].Reason == "Waiting" && strings.Contains(c[0].Message, "apps/of-osm-controller-a")
	})
	lead()
	lead = w.lead(second)
	w.lag(false)
	w.await("two signs", func(o objects) bool { return o["two"].Spec.Role == v1alpha2.RootRoleActive })
	w.lag(true) // it trusts both, but its certificate is the old one's
	lead()
	lead = w.lead(first)
	w.await("one is passive", func(o objects) bool { return o["one"].Spec.Role == v1alpha2.RootRolePassive })

	w.ask("one") // back
	w.lag(false)
	w.await("back with one", func(o objects) bool {
		return o["one"].Spec.Role == v1alpha2.RootRoleActive && o["two"].Spec.Role == v1alpha2.RootRoleInactive && len(o["one"].Annotations) == 1 && len(o["two"].Annotations) == 1
	})
	if now := second.provider.Roots.Trust().Fingerprint; now != old {
		t.Errorf("%.8s signs after the way back, want %.8s", now, old)
	}

	w.ask("two") // once more, to the end
	w.await("two signs again", func(o objects) bool { return o["two"].Spec.Role == v1alpha2.RootRoleActive })
	lead()
	lead = w.lead(second)
	w.await("two alone", func(o objects) bool {
		_, asked := o["two"].Annotations[v1alpha2.AnnotationRotateTo]
		return o["one"].Spec.Role == v1alpha2.RootRoleInactive && !asked && o["two"].Status.State == "active"
	})
	state := second.driver.Debug(t.Context())
	if !state.Leads || len(state.Lines) != 2 || state.Lines[0].Root != "two" || len(state.Lines[0].Trusts) != 1 || state.Step.Phase == "all-renewed" {
		t.Errorf("shown at the end: %+v", state)
	}
	if first.driver.Debug(t.Context()).Leads {
		t.Error("a replica that does not lead says it does")
	}
	lead()
}

// meddle changes the objects as anybody might, so that the driver meets conflicts.
func (w *town) meddle(ctx context.Context) error {
	tick := time.NewTicker(900 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		patch := `{"metadata":{"annotations":{"meddler":"` + strconv.Itoa(i) + `"}}}`
		for _, name := range []string{"one", "two"} {
			if _, err := w.roots().Patch(ctx, name, "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
				return err
			}
		}
	}
}

// lead has a replica drive until the function that it returns is called.
func (w *town) lead(r *replica) (end func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	r.leads.Store(true)
	var work sync.WaitGroup
	work.Go(func() { _ = r.driver.Run(ctx) }) // the cause of ctx
	work.Go(func() { _ = r.keepWebhook(ctx) })
	return func() {
		cancel()
		work.Wait()
		r.leads.Store(false)
	}
}

// TestEvidenceIsForControllersOnly: a proxy's certificate does not do, nor none.
func TestEvidenceIsForControllersOnly(t *testing.T) {
	w := newTown(t)
	r := w.add("osm-controller-a", api.AppController, "127.0.0.2")
	for name, test := range map[string]struct {
		who    *identity.Identity
		status int // 0: no answer
	}{
		"controller": {&identity.Identity{Namespace: namespace, ServiceAccount: api.AppController}, http.StatusOK},
		"proxy":      {&identity.Identity{Namespace: "apps", ServiceAccount: "default"}, http.StatusForbidden},
		"namesake":   {&identity.Identity{Namespace: "apps", ServiceAccount: api.AppController}, http.StatusForbidden},
		"nobody":     {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			config := &tls.Config{RootCAs: r.provider.Roots.Trust().Pool(), ServerName: api.AppController + "." + namespace + ".svc", MinVersion: tls.VersionTLS13}
			if test.who != nil {
				leaf, err := r.provider.Roots.Issue(t.Context(), ca.Request{Identity: *test.who, TTL: time.Hour, Usage: ca.UsageProxy})
				must(t, err)
				config.Certificates = []tls.Certificate{leaf.TLS()}
			}
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
			resp, err := client.Get("https://" + net.JoinHostPort("127.0.0.2", strconv.Itoa(w.port)) + rotate.Path)
			if err != nil {
				if test.status != 0 {
					t.Fatal(err)
				}
				return
			}
			resp.Body.Close()
			if resp.StatusCode != test.status {
				t.Errorf("status %d, want %d", resp.StatusCode, test.status)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
