package xds

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
)

// holding is what an Envoy holds: by type and name, a digest of the content, or the addresses of endpoints.
type holding map[string]map[string]string

func newHolding() holding { return holding{"cds": {}, "eds": {}, "lds": {}, "rds": {}, "warming": {}} }

// dumped is the part of Envoy's config_dump that is needed.
type dumped struct {
	Configs []struct {
		Clusters []struct {
			Cluster json.RawMessage `json:"cluster"`
		} `json:"dynamic_active_clusters"`
		Warming   []any `json:"dynamic_warming_clusters"`
		Listeners []struct {
			Active struct {
				Listener json.RawMessage `json:"listener"`
			} `json:"active_state"`
			Warming any `json:"warming_state"`
			Error   any `json:"error_state"`
		} `json:"dynamic_listeners"`
		Routes []struct {
			Route json.RawMessage `json:"route_config"`
		} `json:"dynamic_route_configs"`
		Endpoints []struct {
			Endpoint json.RawMessage `json:"endpoint_config"`
		} `json:"dynamic_endpoint_configs"`
	} `json:"configs"`
}

func (e *liveEnvoy) holds() holding {
	e.t.Helper()
	var dump dumped
	h := newHolding()
	if err := json.Unmarshal(e.ask("/config_dump?include_eds"), &dump); err != nil {
		h["warming"]["all"] = err.Error()
		return h
	}
	for _, c := range dump.Configs {
		for _, x := range c.Clusters {
			h.add(e.t, "cds", x.Cluster)
		}
		for _, x := range c.Listeners {
			h.add(e.t, "lds", x.Active.Listener)
			if x.Warming != nil || x.Error != nil {
				h["warming"]["listener"] = fmt.Sprint(x.Error)
			}
		}
		for _, x := range c.Routes {
			h.add(e.t, "rds", x.Route)
		}
		for _, x := range c.Endpoints {
			h.add(e.t, "eds", x.Endpoint)
		}
		if len(c.Warming) > 0 {
			h["warming"]["cluster"] = fmt.Sprint(len(c.Warming))
		}
	}
	return h
}

// add reads a resource from Envoy's JSON.
func (h holding) add(t *testing.T, typ string, text json.RawMessage) {
	t.Helper()
	if len(text) == 0 {
		return // a listener that is not active yet
	}
	var packed anypb.Any
	if err := protojson.Unmarshal(text, &packed); err != nil {
		t.Fatalf("read what Envoy holds: %v\n%s", err, text)
	}
	h.addBody(t, typ, &packed)
}

func (h holding) addBody(t *testing.T, typ string, body *anypb.Any) {
	t.Helper()
	m, err := body.UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	switch m := m.(type) {
	case *endpointv3.ClusterLoadAssignment:
		if !strings.HasPrefix(m.GetClusterName(), "shop/") {
			return // a cluster with endpoints of its own
		}
		h[typ][m.GetClusterName()] = ""
		for _, l := range m.GetEndpoints() {
			for _, at := range l.GetLbEndpoints() {
				h[typ][m.GetClusterName()] += at.GetEndpoint().GetAddress().GetSocketAddress().GetAddress() + " "
			}
		}
	case interface {
		proto.Message
		GetName() string
	}:
		content, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		h[typ][m.GetName()] = fmt.Sprintf("%x", sha256.Sum256(content))
	}
}

// published returns what an Envoy should hold.
func published(t *testing.T, view envoy.View) holding {
	t.Helper()
	h := newHolding()
	for _, kind := range envoy.Kinds() {
		for _, r := range view.All(kind) {
			h.addBody(t, kind.String(), r.Body())
		}
	}
	return h
}
