package driver_test

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
	"github.com/osm-edge/osm/pkg/controlplane/rotation/collect"
)

type objects = map[string]v1alpha2.MeshRootCertificate

// TestRotation rotates on a real API server: the driver moves to another replica in each phase,
// another client writes to the objects all the time, a proxy that does not acknowledge delays the rotation
// and is named, and an abort works until the old root is dropped. At every moment, all participants trust
// every signer.
func TestRotation(t *testing.T) {
	c := newCluster(t)
	first := c.add("osm-controller-a", api.AppController, "127.0.0.2")
	second := c.add("osm-controller-b", api.AppController, "127.0.0.3")
	c.webhook()
	c.injector("osm-injector-a", "127.0.0.4")
	c.run(c.presented)
	old := first.provider.Roots.Trust().Fingerprint
	c.make("one", api.CABundleSecret, v1alpha2.RootRoleActive)
	c.make("two", api.CABundleSecret+"-next", v1alpha2.RootRoleInactive)
	c.run(c.disturb)

	c.lag(true)
	c.ask("two")
	lead := c.lead(first)
	c.await("it names the lagging proxy", func(o objects) bool {
		two := o["two"]
		c := two.Status.Conditions
		return two.Spec.Role == v1alpha2.RootRolePassive && len(c) == 1 && c[0].Reason == "Waiting" && strings.Contains(c[0].Message, "apps/of-osm-controller-a")
	})
	lead()
	lead = c.lead(second)
	c.lag(false)
	c.await("two signs", func(o objects) bool { return o["two"].Spec.Role == v1alpha2.RootRoleActive })
	c.lag(true) // it trusts both, but its certificate is signed by the old root
	lead()
	lead = c.lead(first)
	c.await("one is passive", func(o objects) bool { return o["one"].Spec.Role == v1alpha2.RootRolePassive })

	c.ask("one") // abort
	c.lag(false)
	c.await("aborted", func(o objects) bool {
		return o["one"].Spec.Role == v1alpha2.RootRoleActive && o["two"].Spec.Role == v1alpha2.RootRoleInactive && len(o["one"].Annotations) == 1 && len(o["two"].Annotations) == 1
	})
	if now := second.provider.Roots.Trust().Fingerprint; now != old {
		t.Errorf("%.8s signs after the abort, want %.8s", now, old)
	}

	c.ask("two") // again, to the end
	c.await("two signs again", func(o objects) bool { return o["two"].Spec.Role == v1alpha2.RootRoleActive })
	lead()
	lead = c.lead(second)
	c.await("two alone", func(o objects) bool {
		_, asked := o["two"].Annotations[v1alpha2.AnnotationRotateTo]
		return o["one"].Spec.Role == v1alpha2.RootRoleInactive && !asked && o["two"].Status.State == "active"
	})
	state := second.driver.Debug(t.Context())
	if !state.Leads || len(state.Proxies) != 2 || state.Proxies[0].Root != "two" || len(state.Proxies[0].Trusts) != 1 || state.Step.Phase == "all-renewed" {
		t.Errorf("final state: %+v", state)
	}
	if first.driver.Debug(t.Context()).Leads {
		t.Error("a replica that does not lead reports that it does")
	}
	lead()
}

// disturb keeps changing the objects, so that the driver gets conflicts.
func (c *cluster) disturb(ctx context.Context) error {
	tick := time.NewTicker(900 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		patch := `{"metadata":{"annotations":{"disturbance":"` + strconv.Itoa(i) + `"}}}`
		for _, name := range []string{"one", "two"} {
			if _, err := c.roots().Patch(ctx, name, "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
				return err
			}
		}
	}
}

// lead makes a replica drive until the returned function is called.
func (c *cluster) lead(r *replica) (end func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
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

// TestEvidenceIsForControllersOnly: clients with a proxy's certificate, or with none, are rejected.
func TestEvidenceIsForControllersOnly(t *testing.T) {
	c := newCluster(t)
	r := c.add("osm-controller-a", api.AppController, "127.0.0.2")
	for name, test := range map[string]struct {
		who    *identity.Identity
		status int // 0: no response
	}{
		"controller":            {&identity.Identity{Namespace: namespace, ServiceAccount: api.AppController}, http.StatusOK},
		"proxy":                 {&identity.Identity{Namespace: "apps", ServiceAccount: "default"}, http.StatusForbidden},
		"namesake":              {&identity.Identity{Namespace: "apps", ServiceAccount: api.AppController}, http.StatusForbidden},
		"no client certificate": {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			config := &tls.Config{RootCAs: r.provider.Roots.Trust().Pool(), ServerName: api.AppController + "." + namespace + ".svc", MinVersion: tls.VersionTLS13}
			if test.who != nil {
				leaf, err := r.provider.Roots.Issue(t.Context(), ca.Request{Identity: *test.who, TTL: time.Hour, Usage: ca.UsageProxy})
				must(t, err)
				config.Certificates = []tls.Certificate{leaf.TLS()}
			}
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
			resp, err := client.Get("https://" + net.JoinHostPort("127.0.0.2", strconv.Itoa(c.port)) + collect.Path)
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
