package xds

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

func TestLifetime(t *testing.T) {
	m := newInMemory(t)
	now := time.Now()
	m.cfg.Now = func() time.Time { return now }
	m.cfg.Limits.StreamMinutes = 24 * 60
	for _, c := range []struct {
		name        string
		certificate time.Duration // until it expires
		least, most time.Duration
		reason      string
	}{
		{"a fresh certificate", 24 * time.Hour, 22*time.Hour + 48*time.Minute, 24 * time.Hour, "expired"},
		{"an old one", time.Hour, 57 * time.Minute, time.Hour, "expired"},
		{"one that expired in the handshake", -time.Minute, -time.Minute, 0, "expired"},
		{"a forged one", 100 * 365 * 24 * time.Hour, 21*time.Hour + 36*time.Minute, 24 * time.Hour, "aged"},
	} {
		seen := map[time.Time]bool{}
		for range 100 {
			end := m.lifetime(peer{until: now.Add(c.certificate)})
			if after := end.at.Sub(now); after < c.least || after > c.most || end.why.reason != c.reason {
				t.Fatalf("%s: it ends after %s, %s; want %s to %s, %s", c.name, after, end.why.reason, c.least, c.most, c.reason)
			}
			seen[end.at] = true
		}
		if c.certificate > 0 && len(seen) < 90 {
			t.Errorf("%s: 100 streams end at %d moments: all would reconnect at once", c.name, len(seen))
		}
	}
}

// A stream ends at its maximum age, however long its certificate is valid.
func TestStreamAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newInMemory(t, func(cfg *Config) { cfg.Limits.StreamMinutes = 60 })
		m.Publish(built(t, envoy.NewBuilder(nil), regular(1, 1, 1)))
		d := m.openWith(t.Context(), "service0-0", time.Now().Add(1000*time.Hour), nil)
		d.ask(envoy.Clusters, nil)
		d.take(t)
		time.Sleep(time.Hour)
		synctest.Wait()
		select {
		case err := <-d.done:
			if status.Code(err) != codes.Unavailable {
				t.Errorf("the stream ended with %v, want Unavailable", err)
			}
		default:
			t.Error("the stream continues after its maximum age")
			d.close()
		}
		d.stop()
	})
}
