package fleet

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
)

// delta is an Envoy that asks incrementally, as osm's proxies do.
type delta struct {
	holding
	parsed response // reused
}

func (*delta) path() string {
	return "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
}

func (d *delta) forget() { d.clear() }

// begin asks for everything that was ever asked for, with the versions that are held, so that nothing has
// to be sent twice. A new Envoy asks for clusters only.
func (d *delta) begin(node string) []outgoing {
	d.kinds[CDS].asked = true
	var out []outgoing
	for _, kind := range order() {
		k := &d.kinds[kind]
		if !k.asked {
			continue
		}
		req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: kind.typeURL(), ResourceNamesSubscribe: d.names(kind)}
		for _, r := range k.held {
			if r == nil {
				continue
			}
			if req.InitialResourceVersions == nil {
				req.InitialResourceVersions = map[string]string{}
			}
			req.InitialResourceVersions[r.name.text] = r.version
		}
		if len(out) == 0 {
			req.Node = nodeOf(node)
		}
		out = append(out, encoded(req))
	}
	return out
}

func (d *delta) take(message []byte, changed func(*resource)) (received, []outgoing, error) {
	r := &d.parsed
	if err := parseDelta(message, r); err != nil {
		return received{}, nil, err
	}
	for _, e := range r.resources {
		res, err := d.catalog.resource(r.kind, e)
		if err != nil {
			return received{}, nil, fmt.Errorf("resource %s: %w", e.name, err)
		}
		d.put(res.name, res)
		changed(res)
	}
	for _, removed := range r.removed {
		d.put(d.catalog.name(r.kind, removed), nil)
	}
	d.kinds[r.kind].got = true
	out := []outgoing{encoded(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.kind.typeURL(), ResponseNonce: string(r.nonce)})}
	if r.kind == CDS || r.kind == LDS {
		out = append(out, d.subscribe(d.follow())...)
	}
	if !d.kinds[LDS].asked && d.warm() {
		d.kinds[LDS].asked = true
		out = append(out, encoded(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: LDS.typeURL()}))
	}
	return received{r.kind, len(r.resources), len(r.removed)}, out, nil
}

func (d *delta) subscribe(changes []change) []outgoing {
	var out []outgoing
	for _, c := range changes {
		d.kinds[c.kind].asked = true
		out = append(out, encoded(&discoveryv3.DeltaDiscoveryRequest{
			TypeUrl: c.kind.typeURL(), ResourceNamesSubscribe: texts(c.add), ResourceNamesUnsubscribe: texts(c.drop),
		}))
	}
	return out
}

func nodeOf(id string) *corev3.Node {
	return &corev3.Node{Id: id, UserAgentName: "envoy", UserAgentVersionType: &corev3.Node_UserAgentVersion{UserAgentVersion: "sim"}}
}

// encoded encodes a request of this package, which always has an encoding. Maps are
// sorted, so that two runs send the same bytes.
func encoded(req proto.Message) outgoing {
	message, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", req, err))
	}
	return message
}
