package certmanager_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/osm-edge/osm/pkg/controlplane/ca/certmanager"
	"github.com/osm-edge/osm/pkg/controlplane/ca/leafcache"
)

// TestNeverAnswered waits for the timeout, with each state that may be known by then.
func TestNeverAnswered(t *testing.T) {
	late := apierrors.NewResourceExpired("too old").Status()
	for name, row := range map[string]struct {
		conditions []any
		noWatch    bool
		texts      []string
	}{
		"not approved": {nil, false, []string{"neither approved nor denied before the timeout (at most 20s)", "check that cert-manager is running"}},
		"approved":     {[]any{is("Approved", "cert-manager.io", "")}, false, []string{"approved but not signed", "the controller that signs for Issuer in group cert-manager.io is running"}},
		"pending":      {[]any{is("Approved", "cert-manager.io", ""), notReady("Pending", "come back later")}, false, []string{"(Pending: come back later)"}},
		"unwatchable":  {nil, true, []string{"could not be watched: no route", "check the API server"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newAPIServer(t)
				authority := s.load()
				s.status = func(map[string]any) map[string]any {
					if row.conditions == nil {
						return nil
					}
					return map[string]any{"conditions": row.conditions}
				}
				s.fail = func(verb string) error {
					if verb == "watch" && row.noWatch {
						return errors.New("no route")
					}
					return nil
				}
				s.watch = func(n int, _ *unstructured.Unstructured) (watch.Interface, error) {
					if n > 1 {
						return nil, nil // as usual
					}
					w := watch.NewFakeWithChanSize(1, false) // an earlier error does not count
					w.Error(&late)
					return w, nil
				}
				begin := time.Now()
				_, err := authority.Issue(t.Context(), serviceRequest("bookbuyer"))
				wantReason(t, err, certmanager.Unanswered, row.texts...)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Error("the error does not wrap the deadline")
				}
				if took := time.Since(begin); took != certmanager.DefaultTimeout {
					t.Errorf("took %v, want %v", took, certmanager.DefaultTimeout)
				}
				if n := s.count("watch"); n > 30 {
					t.Errorf("watched %d times in %v", n, certmanager.DefaultTimeout)
				}
				s.wantNone()
			})
		})
	}
}

// TestCallerGivesUp cancels the caller's context: the request is still deleted, and nothing is diagnosed.
func TestCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		authority := s.load()
		s.status = func(map[string]any) map[string]any { return nil }
		ctx, cancel := context.WithCancelCause(t.Context())
		reason := errors.New("the proxy disconnected")
		go func() {
			time.Sleep(time.Second)
			cancel(reason)
		}()
		if _, err := authority.Issue(ctx, serviceRequest("bookbuyer")); !errors.Is(err, reason) {
			t.Errorf("got error %v, want the cause", err)
		}
		s.wantNone()
		if n := s.count("get issuers"); n != 0 {
			t.Errorf("read the issuer %d times", n)
		}
	})
}

// TestAllInFlight has the maximum number of requests in flight, none of which gets a decision.
func TestAllInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		authority := s.load(func(cfg *certmanager.Config) { cfg.MaxInFlight = 1 })
		s.status = func(map[string]any) map[string]any { return nil }
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, err := authority.Issue(t.Context(), serviceRequest("bookbuyer"))
			wantReason(t, err, certmanager.Unanswered)
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := authority.Issue(ctx, serviceRequest("bookthief"))
		if err == nil || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "one of the 1 requests in flight") {
			t.Errorf("got error %v", err)
		}
		if n := s.count("create"); n != 1 {
			t.Errorf("%d requests were made, want one", n)
		}
		<-done
		s.change(func() { s.status = nil })
		if _, err := authority.Issue(t.Context(), serviceRequest("bookthief")); err != nil {
			t.Errorf("not recovered: %v", err)
		}
	})
}

// TestNotDeleted has an API server that does not delete: the leaf is still valid, the log says so, and the
// next sweep deletes the request.
func TestNotDeleted(t *testing.T) {
	var log logged
	s := newAPIServer(t)
	authority := s.load(logTo(&log))
	s.fail = func(verb string) error {
		if verb == "delete" {
			return errors.New("no route")
		}
		return nil
	}
	if _, err := authority.Issue(t.Context(), serviceRequest("bookbuyer")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "CertificateRequest not deleted") || !strings.Contains(log.String(), s.last.GetName()) {
		t.Errorf("the log says %q", log.String())
	}
	s.change(func() { s.fail = nil })
	load(t, s.authority(func(cfg *certmanager.Config) { cfg.Now = func() time.Time { return time.Now().Add(6 * time.Minute) } }))
	s.wantNone()
}

// TestThousandRenewals renews the leaves of a thousand identities as the leaf cache does.
func TestThousandRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const identities, bound = 1000, 4
		s := newAPIServer(t)
		s.delay = 50 * time.Millisecond
		authority := s.load(func(cfg *certmanager.Config) { cfg.MaxInFlight = bound })
		leaves, err := leafcache.New(leafcache.Config{Authority: authority, Concurrency: 64})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, identities)
		for i := range identities {
			go func() {
				_, err := leaves.Acquire(t.Context(), workload("account-"+string(rune('a'+i%26))+strings.Repeat("x", i/26)))
				done <- err
			}()
		}
		for range identities {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- leaves.Run(ctx) }()
		leaves.Reissue(time.Minute)
		time.Sleep(2 * time.Minute)
		finish(t, cancel, done)
		if n := s.count("create"); n != 2*identities {
			t.Errorf("%d requests were made, want %d", n, 2*identities)
		}
		if s.most != bound {
			t.Errorf("%d requests at a time, want %d", s.most, bound)
		}
		s.wantNone()
	})
}
