package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

func TestHeadless(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	cases := []struct {
		name string
		in   time.Duration
		ok   bool
		want string
	}{
		{"no proxies", 0, false, "osm_headless_budget_seconds +Inf\n"},
		{"an hour", time.Hour, true, "osm_headless_budget_seconds 3600\nosm_headless_first_expiry_timestamp_seconds{pod=\"shop/store-0\"} 1.0036e+06\n"},
		{"too late", -time.Hour, true, "osm_headless_budget_seconds 0\nosm_headless_first_expiry_timestamp_seconds{pod=\"shop/store-0\"} 996400\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			first := func() (time.Time, mesh.PodName, bool) {
				return now.Add(c.in), mesh.PodName{Namespace: "shop", Name: "store-0"}, c.ok
			}
			collector := newHeadless(first, func() time.Time { return now })
			got, err := testutil.CollectAndFormat(collector, expfmt.TypeTextPlain, "osm_headless_budget_seconds", "osm_headless_first_expiry_timestamp_seconds")
			if err != nil {
				t.Fatal(err)
			}
			values := ""
			for line := range strings.Lines(string(got)) {
				if !strings.HasPrefix(line, "#") {
					values += line
				}
			}
			if values != c.want {
				t.Errorf("got\n%s\nwant\n%s", values, c.want)
			}
		})
	}
}
