package secrets_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/secrets"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/tests/catest"
)

// TestSecretsFollowTheRoots: a change of the trusted roots or of the signer reaches every Secret
// within a bounded time at a bounded rate; new accounts do not wait; a replica that takes
// over continues where the last one stopped; the evidence shows what each Secret holds, and since when.
func TestSecretsFollowTheRoots(t *testing.T) {
	synctest.Test(t, secretsFollowTheRoots) // only the test moves the clock
}

func secretsFollowTheRoots(t *testing.T) {
	w := newWriter(t)
	a, b := w.config.Authority, func() ca.Authority { i, _ := catest.NewIssuer(t, w.clock.Now); return i }()
	roots := catest.NewRootSet(t, a)
	w.config.Authority = roots
	w.restart(t)
	var names []string
	for i := range 200 { // at 20 per second: ten seconds
		names = append(names, fmt.Sprintf("w%03d", i))
	}
	w.reconcile(t, names...)
	w.server.took()

	steps := []struct {
		name    string
		set     func() error
		restart bool
	}{
		{name: "trust both", set: func() error { return roots.Set(a, b) }},
		{name: "sign with the new one, and the Lease moves", set: func() error { return roots.Set(b, a) }, restart: true},
		{name: "drop the old one", set: func() error { return roots.Set(b) }},
	}
	for _, step := range steps {
		must(t, step.set())
		if step.restart {
			w.restart(t)
		}
		first := w.reconcile(t, names...)
		if first.Written > 20 || first.Next.IsZero() || first.Next.After(w.clock.Now().Add(3*time.Second)) {
			t.Errorf("%s: wrote %d at once, next in %v", step.name, first.Written, first.Next.Sub(w.clock.Now()))
		}
		most, total := 0, first.Written
		for range 11 {
			w.clock.Jump(time.Second)
			r := w.reconcile(t, names...)
			most, total = max(most, r.Written), total+r.Written
		}
		if total != len(names) || most > 40 {
			t.Errorf("%s: wrote %d Secrets, at most %d per second, want all at about 20", step.name, total, most)
		}
		for _, e := range w.Evidence() {
			held := ca.Trust{Bundle: w.server.secret(strings.Replace(e.Account, "/", "/osm-proxy-", 1)).Data["ca.crt"]}
			if held.BundleFingerprint() != roots.Trust().BundleFingerprint() || e.Signer != roots.Trust().Fingerprint || !slices.Equal(e.Trusts, roots.Trust().Fingerprints()) {
				t.Fatalf("%s: evidence %+v", step.name, e)
			}
			if age := w.clock.Now().Sub(e.Since); age < 0 || age > 12*time.Second {
				t.Errorf("%s: %s has this content for %v", step.name, e.Account, age)
			}
		}
		secret := w.server.secret("bookstore/osm-proxy-w007")
		if !bytes.Equal(secret.Data["ca.crt"], roots.Trust().Bundle) {
			t.Errorf("%s: ca.crt is not the union", step.name)
		}
	}
	if evidence := w.Evidence(); len(evidence) != len(names) || evidence[7].Account != "bookstore/w007" || evidence[7].Serial == "" {
		t.Errorf("evidence of %d accounts", len(evidence))
	}
}

// TestEvidenceMatchesSecrets: until a Secret is rewritten, its evidence shows the old content.
func TestEvidenceMatchesSecrets(t *testing.T) {
	w := newWriter(t)
	a, b := w.config.Authority, func() ca.Authority { i, _ := catest.NewIssuer(t, w.clock.Now); return i }()
	roots := catest.NewRootSet(t, a, b)
	w.config.Authority = roots
	w.config.RewritesPerSecond = 1
	w.restart(t)
	w.reconcile(t, "a", "b", "c", "d")
	if len(w.Evidence()) != 4 {
		t.Fatalf("evidence %v", w.Evidence())
	}
	old := roots.Trust().Fingerprint
	must(t, roots.Set(b, a))
	w.server.fail = func(verb, key string) error {
		if verb == "write" && strings.HasSuffix(key, "-a") {
			return catest.ErrAway
		}
		return nil
	}
	for range 5 {
		w.clock.Jump(time.Second)
		w.reconcile(t, "a", "b", "c", "d")
	}
	for _, e := range w.Evidence() {
		if want := e.Account == "bookstore/a"; (e.Signer == old) != want {
			t.Errorf("%s: evidence of the old signer %v, want %v", e.Account, e.Signer == old, want)
		}
	}
	w.reconcile(t, "a") // the others are no longer in the mesh
	if len(w.Evidence()) != 1 {
		t.Errorf("evidence of %d accounts, want 1", len(w.Evidence()))
	}
	// Another leader sees the same, with the time from the Secret's managed fields.
	w.restart(t)
	w.reconcile(t, "a")
	if got := w.Evidence(); len(got) != 1 || got[0].Signer != old {
		t.Errorf("evidence after a restart: %+v", got)
	}
}

// TestSweep checks that Sweep removes what a predecessor left behind: slowly, while Reconcile runs, and once.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWriter(t)
		var names []string
		for i := range 100 {
			names = append(names, fmt.Sprintf("w%02d", i))
		}
		w.reconcile(t, append(names, "stays")...)
		w.server.took()
		w.config.SweepEvery = 0 // the default
		w.restart(t)
		w.reconcile(t, "stays")
		leftovers := []identity.Identity{catest.Workload("absent"), catest.Workload("stays")}
		for _, name := range names {
			leftovers = append(leftovers, catest.Workload(name))
		}
		w.server.fail = func(verb, key string) error {
			if verb == "delete" && strings.HasSuffix(key, "-w01") {
				return catest.ErrAway
			}
			return nil
		}
		begin := time.Now()
		result := make(chan secrets.Swept)
		go func() {
			swept, err := w.Sweep(t.Context(), leftovers)
			if err != nil {
				t.Error(err)
			}
			result <- swept
		}()
		// Halfway through, a namespace joins the mesh again: its Secrets must stay.
		time.Sleep(10 * time.Second)
		synctest.Wait()
		joined := w.reconcile(t, "stays", "w98", "w99")
		if joined.Written != 0 || joined.Kept != 3 {
			t.Errorf("Reconcile during the sweep: %+v", joined)
		}
		swept := <-result
		if took := time.Since(begin); took < 20*time.Second || took > 21*time.Second {
			t.Errorf("took %v for %d accounts, want five per second", took, len(leftovers))
		}
		if diff := cmp.Diff(secrets.Swept{Probed: 99, Deleted: 97, Failed: 1}, swept); diff != "" {
			t.Error(diff)
		}
		for _, key := range []string{"bookstore/osm-proxy-stays", "bookstore/osm-proxy-w98", "bookstore/osm-proxy-w99", "bookstore/osm-proxy-w01"} {
			if w.server.secret(key) == nil {
				t.Errorf("%s was deleted", key)
			}
		}
		if len(w.server.secrets) != 4 {
			t.Errorf("%d Secrets left", len(w.server.secrets))
		}
		if _, err := w.Sweep(t.Context(), leftovers); err == nil {
			t.Error("swept twice in one term")
		}
	})
}

// TestSweepEndsWithTheLease checks that nothing is deleted after leadership is lost.
func TestSweepEndsWithTheLease(t *testing.T) {
	w := newWriter(t)
	w.reconcile(t, "a")
	w.server.took()
	w.restart(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if swept, err := w.Sweep(ctx, []identity.Identity{catest.Workload("a")}); !errors.Is(err, context.Canceled) || swept != (secrets.Swept{}) {
		t.Errorf("swept %+v, %v", swept, err)
	}
	want(t, w, "after the end")
}
