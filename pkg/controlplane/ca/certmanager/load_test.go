package certmanager_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/certmanager"
)

// TestLoadWaits is denied for a while, then gets no response, then is approved. The log names each problem
// once, and the API server is not flooded.
func TestLoadWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		s := newAPIServer(t)
		s.status = func(map[string]any) map[string]any {
			return map[string]any{"conditions": []any{is("Denied", "Policy", "not you")}}
		}
		reports := make(statuses, 4)
		authority := s.authority(logTo(&log), collect(reports))
		done := make(chan error, 1)
		go func() { done <- authority.Load(t.Context()) }()
		time.Sleep(10 * time.Minute)
		if n := s.count("create"); n < 10*60/15 || n > 10*60/7+10 {
			t.Errorf("sent %d requests in ten minutes of denial, want about one in ten seconds", n)
		}
		s.change(func() { s.status = func(map[string]any) map[string]any { return nil } })
		time.Sleep(time.Minute)
		s.change(func() { s.status = nil })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"was denied: Policy: not you", "it was neither approved nor denied"} {
			if n := strings.Count(log.String(), text); n != 1 {
				t.Errorf("the log says %q %d times, want once:\n%s", text, n, log.String())
			}
		}
		status := reports.next(t)
		if status.State != ca.RootSame || status.Loaded != s.signer.fingerprint() || authority.Trust().Fingerprint != s.signer.fingerprint() {
			t.Errorf("reports %+v", status)
		}
		s.wantNone()
	})
}

// TestLoadGivesUp checks that Load ends with its context and says what the problem was.
func TestLoadGivesUp(t *testing.T) {
	for name, row := range map[string]struct {
		status func(s *apiServer, spec map[string]any) map[string]any
		reason certmanager.Reason
		text   string
	}{
		"failed": {func(*apiServer, map[string]any) map[string]any {
			return map[string]any{"conditions": []any{notReady("Failed", "boom")}}
		}, certmanager.Failed, "boom"},
		"no CA in the response": {func(s *apiServer, spec map[string]any) map[string]any {
			status := s.issued(spec)
			delete(status, "ca")
			return status
		}, certmanager.Unusable, "does not hold the CA"},
		"somebody else's certificate": {func(s *apiServer, spec map[string]any) map[string]any {
			csr, _, err := ca.NewSigningRequest(serviceRequest("bookthief"), domain)
			if err != nil {
				s.t.Error(err)
			}
			spec["request"] = base64.StdEncoding.EncodeToString(csr)
			return s.issued(spec)
		}, certmanager.Unusable, "a different key"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newAPIServer(t)
				s.status = func(spec map[string]any) map[string]any { return row.status(s, spec) }
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				authority := s.authority()
				err := authority.Load(ctx)
				wantReason(t, err, row.reason, `load the CA of Issuer "osm-ca": context deadline exceeded: `, row.text)
				if authority.Trust().Fingerprint != "" {
					t.Error("trusts a CA that it has not loaded")
				}
				s.wantNone()
			})
		})
	}
}

// TestRunProbesWhenIdle counts the leaves that Run itself requests.
func TestRunProbesWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		s := newAPIServer(t)
		authority := s.load(logTo(&log))
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		go func() { done <- authority.Run(ctx) }()
		time.Sleep(time.Hour)
		if n := s.count("create"); n < 4 || n > 12 {
			t.Errorf("sent %d requests in an idle hour, want about one in ten minutes", n)
		}
		before := s.count("create")
		for range 60 {
			if _, err := authority.Issue(t.Context(), serviceRequest("bookbuyer")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if n := s.count("create") - before; n != 60 {
			t.Errorf("sent %d requests in a busy hour, want only the 60 of others", n)
		}
		s.change(func() {
			s.status = func(map[string]any) map[string]any {
				return map[string]any{"conditions": []any{notReady("Failed", "boom")}}
			}
		})
		time.Sleep(time.Hour)
		if !strings.Contains(log.String(), "currently issues no certificates") || !strings.Contains(log.String(), "boom") {
			t.Errorf("the log says %q", log.String())
		}
		reason := errors.New("the end")
		cancel(reason)
		if err := <-done; !errors.Is(err, reason) {
			t.Errorf("returned %v, want the cause", err)
		}
		s.wantNone()
	})
}

// TestRunReports changes the CA that signs, and back.
func TestRunReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAPIServer(t)
		first := s.signer
		reports := make(statuses, 16)
		authority := s.load(collect(reports))
		reports.next(t) // Load's
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- authority.Run(ctx) }()

		issue := func() error {
			_, err := authority.Issue(t.Context(), serviceRequest("bookbuyer"))
			synctest.Wait()
			return err
		}
		other := newAuthority(t, "root", nil, 365*24*time.Hour) // same name, different key
		s.change(func() { s.signer = other })
		for range 3 {
			wantReason(t, issue(), certmanager.Unusable, "does not lead to the trusted CA")
		}
		if status := reports.next(t); status.State != ca.RootDiffers || status.Found != other.fingerprint() || status.Ready() ||
			!strings.HasPrefix(status.String(), `cert-manager's Issuer "osm-ca" in namespace osm-system holds a different root CA`) {
			t.Errorf("reports %+v: %s", status, status)
		}
		s.change(func() { s.signer = first })
		if err := issue(); err != nil {
			t.Error(err)
		}
		if status := reports.next(t); status.State != ca.RootSame {
			t.Errorf("reports %+v", status)
		}
		if len(reports) != 0 {
			t.Errorf("reported the same twice: %+v", <-reports)
		}
		finish(t, cancel, done)
	})
}

// TestSweep checks that old requests of this mesh are removed, at start and later.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		s := newAPIServer(t)
		for _, name := range []string{"osm-a", "osm-b", "osm-c", "osm-d", "osm-e"} {
			s.put(name, "osm", time.Hour)
		}
		s.put("osm-young", "osm", time.Minute)
		s.put("other", "other", time.Hour)
		authority := s.load(logTo(&log))
		if got := s.names(); got != "[osm-young other]" {
			t.Errorf("requests left: %s", got)
		}
		if !strings.Contains(log.String(), "count=5") {
			t.Errorf("the log says %q", log.String())
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- authority.Run(ctx) }()
		time.Sleep(11 * time.Minute)
		if got := s.names(); got != "[other]" {
			t.Errorf("requests left: %s", got)
		}
		finish(t, cancel, done)
	})
}

// TestSweepFails checks that a failed sweep is logged and affects nothing else.
func TestSweepFails(t *testing.T) {
	var log logged
	s := newAPIServer(t)
	s.put("osm-a", "osm", time.Hour)
	s.fail = func(verb string) error {
		if verb == "list" {
			return errors.New("no route")
		}
		return nil
	}
	s.load(logTo(&log))
	if !strings.Contains(log.String(), "leftover CertificateRequests not removed") {
		t.Errorf("the log says %q", log.String())
	}
}
