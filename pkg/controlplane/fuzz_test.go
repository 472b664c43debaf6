package controlplane_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
	"github.com/osm-edge/osm/tests/reach"
)

// script makes random numbers of a fuzzer's bytes, and of a fixed seed when they are used up.
type script struct {
	bytes []byte
	rest  *rand.PCG
}

func (s *script) Uint64() uint64 {
	if len(s.bytes) < 2 {
		return s.rest.Uint64()
	}
	n := binary.BigEndian.Uint16(s.bytes)
	s.bytes = s.bytes[2:]
	return uint64(n) << 48 // the upper bits decide
}

// FuzzPipeline takes any mesh through the whole pipeline: a controller that was told in another order
// computes the same bytes, and each resource passes Envoy's own rules, down into what is packed.
func FuzzPipeline(f *testing.F) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 40 {
		seed := make([]byte, 2*random.IntN(400))
		for i := range seed {
			seed[i] = byte(random.IntN(256))
		}
		f.Add(seed)
	}
	outcomes := reach.All(f, "a mesh", "an empty mesh", "problems", "rules")
	f.Fuzz(func(t *testing.T, data []byte) {
		random := rand.New(&script{data, rand.NewPCG(1, 1)})
		objects := randomMesh(random)
		var rules []*mesh.Rule
		if random.IntN(2) == 0 {
			rules = randomRules(random)
			outcomes.Note("rules")
		}
		first := fromScratch(t, objects, rules...)
		shuffle(random, &objects)
		mix(random, rules)
		if diff := cmp.Diff(first, fromScratch(t, objects, rules...)); diff != "" {
			t.Fatalf("the order of the objects changed the configuration:\n%s", diff)
		}
		if len(validateAll(t, objects, rules...).Workloads()) > 0 {
			outcomes.Note("a mesh")
		} else {
			outcomes.Note("an empty mesh")
		}
		if first[0] != "[]" {
			outcomes.Note("problems")
		}
	})
}

// validateAll builds the objects' configuration and asks every message in it whether it is valid.
func validateAll(t *testing.T, objects ingest.Objects, rules ...*mesh.Rule) *mesh.Snapshot {
	t.Helper()
	snapshot, _ := ingest.Build(objects)
	snapshot = withRules(snapshot, rules)
	config, err := envoy.NewBuilder(nil).Build(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	checked := map[*envoy.Resource]bool{}
	for _, w := range snapshot.Workloads() {
		view, _ := config.View(w.Name)
		for _, k := range envoy.Kinds() {
			for _, r := range view.All(k) {
				if !checked[r] {
					checked[r] = true
					validate(t, r.Name, r.Body())
				}
			}
		}
	}
	return snapshot
}

// validate asks a message and all that is packed in it.
func validate(t *testing.T, name string, message proto.Message) {
	t.Helper()
	if packed, ok := message.(*anypb.Any); ok {
		inner, err := packed.UnmarshalNew()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		message = inner
	}
	if v, ok := message.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	descend(message.ProtoReflect(), func(packed *anypb.Any) { validate(t, name, packed) })
}

// descend visits each Any below a message. ValidateAll sees to all other messages by itself.
func descend(m protoreflect.Message, visit func(*anypb.Any)) {
	each := func(m protoreflect.Message) {
		if packed, ok := m.Interface().(*anypb.Any); ok {
			visit(packed)
			return
		}
		descend(m, visit)
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap():
			if field.MapValue().Message() != nil {
				value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					each(v.Message())
					return true
				})
			}
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				each(value.List().Get(i).Message())
			}
		default:
			each(value.Message())
		}
		return true
	})
}

// bankOf is what namespace evil must not change: everything of namespace bank.
func bankOf(s *mesh.Snapshot) []string {
	var lines []string
	for _, w := range s.Workloads() {
		if w.Name.Namespace == "bank" {
			lines = append(lines, fmt.Sprint(*w))
		}
	}
	for _, service := range s.Services() {
		if service.Name.Namespace == "bank" {
			lines = append(lines, fmt.Sprint(*service))
		}
	}
	return lines
}

// FuzzEndpointSlice lets namespace evil write any EndpointSlice for its Service. What belongs to bank
// stays as it is, clients are sent to no address of bank's and to none that is their own, and Envoy takes
// the result.
func FuzzEndpointSlice(f *testing.F) {
	pod := bankMesh().Pods[0]
	for _, address := range []string{livePodIP, "10.77.0.9", "127.0.0.1", "fe80::1%eth0", "169.254.169.254", "::ffff:10.0.0.1", "2001:db8::1", "nonsense"} {
		for _, ref := range []*corev1.ObjectReference{nil, refTo(pod), {Kind: "Pod", Namespace: "evil", Name: "own"}, {Kind: "Pod", Name: "vault-0", UID: "x"}} {
			for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN} {
				text, err := json.Marshal(discoveryv1.EndpointSlice{
					AddressType: family, Ports: []discoveryv1.EndpointPort{{Name: new("p"), Port: new(int32(8080))}},
					Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address, "10.77.0.8"}, TargetRef: ref}},
				})
				if err != nil {
					f.Fatal(err)
				}
				f.Add(text)
			}
		}
	}
	f.Add([]byte("no JSON"))
	f.Add([]byte(`{"addressType": "IPv4", "ports": [{"name": "p", "port": 8080}], "endpoints": [{"addresses": ["10.77.0.9"], "targetRef": {"kind": "Pod", "namespace": "evil", "name": "own", "uid": "uid of own"}}]}`))
	before, _ := ingest.Build(bankMesh())
	want := bankOf(before)
	outcomes := reach.All(f, "not a slice", "meshed", "plain", "left out")
	f.Fuzz(func(t *testing.T, text []byte) {
		hostile := &discoveryv1.EndpointSlice{}
		if json.Unmarshal(text, hostile) != nil {
			outcomes.Note("not a slice")
			t.Skip()
		}
		objects := bankMesh()
		hostile.Namespace, hostile.Name = "evil", "web-1"
		hostile.Labels = map[string]string{discoveryv1.LabelServiceName: "web"}
		objects.EndpointSlices = append(objects.EndpointSlices, hostile)
		snapshot := validateAll(t, objects)
		if diff := cmp.Diff(want, bankOf(snapshot)); diff != "" {
			t.Errorf("namespace evil changed bank:\n%s", diff)
		}
		for _, s := range snapshot.Services() {
			if s.Name.Namespace != "evil" {
				continue
			}
			if len(s.Ports[0].Endpoints) == 0 {
				outcomes.Note("left out")
			}
			for _, e := range s.Ports[0].Endpoints {
				outcomes.Note(map[bool]string{true: "meshed", false: "plain"}[e.Meshed])
				a := e.Address.Addr()
				if a == netip.MustParseAddr(livePodIP) || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || a.IsMulticast() || a.Is4In6() || a.Zone() != "" {
					t.Errorf("clients of evil's Service are sent to %s", e.Address)
				}
				if e.Meshed && a != netip.MustParseAddr("10.77.0.9") {
					t.Errorf("%s counts as meshed", e.Address)
				}
			}
			for _, id := range s.Ports[0].Identities {
				if id.Namespace != "evil" {
					t.Errorf("clients of evil's Service accept %s", id)
				}
			}
		}
	})
}

// FuzzServicePort lets a port have any name, appProtocol and number. What Envoy is told is valid, and one
// of its own words always means the same.
func FuzzServicePort(f *testing.F) {
	for _, name := range []string{"", "http", "http-web", "http2", "grpc-x", "h2c", "tcp", "tcp-db", "https", "tls", "httpx", "HTTP", "web"} {
		for _, protocol := range []string{"", "http", "kubernetes.io/h2c", "kubernetes.io/ws", "tcp-server-first", "GRPC", "wss", "mine.example/x", "h2C"} {
			f.Add(name, protocol, int32(80), int32(8080))
		}
	}
	f.Add("http", "http", int32(0), int32(-1))
	f.Add("http", "http", int32(65535), int32(70000))
	outcomes := reach.All(f, "http", "grpc", "tcp", "no such port")
	f.Fuzz(func(t *testing.T, name, protocol string, number, target int32) {
		objects := bankMesh()
		port := corev1.ServicePort{Name: name, Port: number}
		if protocol != "" {
			port.AppProtocol = &protocol
		}
		objects.Services[0].Spec.Ports = []corev1.ServicePort{port}
		objects.EndpointSlices[0].Ports = []discoveryv1.EndpointPort{{Name: &name, Port: &target}}
		if number < 1 || number > 65535 {
			t.Skip() // the API server lets nobody write it
		}
		snapshot := validateAll(t, objects)
		i := slices.IndexFunc(snapshot.Services(), func(s *mesh.Service) bool { return s.Name.Namespace == "bank" })
		got := snapshot.Services()[i].Ports[0]
		inbound := snapshot.Workload(mesh.PodName{Namespace: "bank", Name: "vault-0"}).Inbound
		if len(inbound) > 0 {
			outcomes.Note(inbound[0].Protocol.String())
		} else {
			outcomes.Note("no such port")
		}
		if valid := target >= 1 && target <= 65535; valid != (len(inbound) == 1) || valid && inbound[0] != (mesh.InboundPort{Number: uint16(target), Protocol: got.Protocol}) {
			t.Errorf("port %d of the pod: inbound %v, outbound %v", target, inbound, got.Protocol)
		}
	})
}

// bankMesh is a mesh with bank/vault-0, its Service, a pod of evil's and evil's Service without endpoints.
func bankMesh() ingest.Objects {
	objects := bank()
	objects.Pods = append(objects.Pods, injected("evil", "own", "own", "10.77.0.9"))
	lead(&objects, "evil", "web", "http", 8080, "", nil)
	objects.EndpointSlices = objects.EndpointSlices[:1]
	return objects
}
