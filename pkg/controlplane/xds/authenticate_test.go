package xds

import (
	"strings"
	"testing"
	"testing/synctest"
	"unicode"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/tests/reach"
)

// A long node id is refused, and only its first part is logged and sent back.
func TestNodeIDs(t *testing.T) {
	long := strings.Repeat("n", 63) + "/" + strings.Repeat("p", 253)
	for _, c := range []struct {
		name, id string
		want     codes.Code
	}{
		{"6 MiB", strings.Repeat("x", 6<<20), codes.InvalidArgument},
		{"of a pod, but too long", long + "x", codes.InvalidArgument},
		{"the longest", long, codes.Unavailable},
		{"with an end of line and an escape", "a\n\x1b[31mb", codes.InvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log lines
				m := newInMemory(t, func(cfg *Config) { cfg.Log = textLog(&log) })
				m.Publish(built(t, envoy.NewBuilder(nil), regular(1, 1, 1)))
				d := m.open(t.Context(), "service0-0")
				req := &discoveryv3.DeltaDiscoveryRequest{Node: nodeOf("service0-0"), TypeUrl: envoy.Clusters.TypeURL()}
				req.Node.Id = c.id
				d.send(req)
				err := <-d.done
				if status.Code(err) != c.want || len(err.Error()) > 1000 {
					t.Errorf("%.500v, want %s", err, c.want)
				}
				if log.Len() > 1500 || strings.ContainsAny(strings.TrimSuffix(log.String(), "\n"), "\n\x1b") {
					t.Errorf("%d bytes were logged: %.300q", log.Len(), log.String())
				}
				d.stop()
			})
		})
	}
	t.Run("later on", func(t *testing.T) {
		m := newInMemory(t)
		m.Publish(built(t, envoy.NewBuilder(nil), regular(1, 1, 1)))
		d := m.open(t.Context(), "service0-0")
		d.ask(envoy.Clusters, nil)
		d.take(t)
		d.send(&discoveryv3.DeltaDiscoveryRequest{Node: nodeOf(strings.Repeat("x", 1<<20)), TypeUrl: envoy.Clusters.TypeURL()})
		if err := <-d.done; status.Code(err) != codes.PermissionDenied || len(err.Error()) > 1000 {
			t.Errorf("%.500v, want a short PermissionDenied", err)
		}
		d.stop()
	})
}

// For any node id: one that is accepted names one pod, and the error about any other is short
// and fits in one line of a log.
func FuzzNodeID(f *testing.F) {
	for _, id := range []string{
		"shop/store-0", "", "/", "shop/", "/store", "a/b/c", "sidecar~10.0.0.1~x", "shop/store\n0", "\x1b[31m/x",
		strings.Repeat("n", 63) + "/" + strings.Repeat("p", 253), strings.Repeat("n", 64) + "/" + strings.Repeat("p", 253), strings.Repeat("\xff", 1000),
	} {
		f.Add(id)
	}
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, id string) {
		pod, err := podOf(id)
		outcomes.Error(err)
		if err == nil {
			if len(id) > longestNode || pod.String() != id {
				t.Errorf("%q is accepted as pod %q", id, pod)
			}
			return
		}
		if text := err.Error(); len(text) > 500 || strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("the error is %q", text)
		}
	})
}
