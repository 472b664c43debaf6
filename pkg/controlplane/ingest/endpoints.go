package ingest

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// How far EndpointSlices are trusted. Anyone who can write slices in a namespace can put any address and
// any reference into them, so a slice is only trusted within its namespace:
//
//   - an endpoint that names a pod of the slice's namespace (targetRef), which is a workload and has
//     the address, is that workload, and the workload's proxy serves the port;
//   - a workload of the namespace that the slice does not name is reached over mTLS, but its proxy
//     learns nothing from the slice;
//   - an address of another namespace's workload is not used. Otherwise clients that mean to reach this
//     Service would act on that workload under their own identity;
//   - an address is not used if it is disputed, does not belong to the named pod, belongs to the API
//     server, or cannot be reached from other pods;
//   - any other address is outside the mesh: plain text, if egress is allowed.

// fault is the reason why an address is not used as its slice says.
type fault uint8

const (
	unreachable fault = iota
	wrongFamily
	apiServer
	foreign
	disputed
	misnamed
	unnamed
)

// faultKey identifies the faults of one kind in one slice, which are reported as one Problem.
type faultKey struct {
	slice string
	fault fault
}

// portBuilder collects the endpoints of one service port.
type portBuilder struct {
	*State
	now      *service
	object   *corev1.Service
	protocol mesh.Protocol
	port     mesh.ServicePort
	// ready are the endpoints that take new connections. spare ones are used while none is ready: those that are
	// terminating and still serve, and those that are unready though their pods' kubelets say the opposite.
	ready, spare map[netip.AddrPort]mesh.Endpoint
	serves       []serve
	faults       map[faultKey][]string
}

// servicePort returns one port with the endpoints from all slices of its service, and records the workloads
// behind it in now.
func (s *State) servicePort(now *service, object *corev1.Service, port corev1.ServicePort, protocol mesh.Protocol, faults map[faultKey][]string) mesh.ServicePort {
	b := &portBuilder{
		State: s, now: now, object: object, protocol: protocol, faults: faults,
		port:  mesh.ServicePort{Number: uint16(port.Port), Protocol: protocol}, //nolint:gosec // the API server admits 1 to 65535
		ready: map[netip.AddrPort]mesh.Endpoint{}, spare: map[netip.AddrPort]mesh.Endpoint{},
	}
	for _, slice := range s.spaces[object.Namespace].slicesOf[object.Name] {
		target, ok := targetPort(slice, port.Name)
		if !ok || !servedFamily(object, slice) {
			continue
		}
		for i := range slice.Endpoints {
			for _, address := range slice.Endpoints[i].Addresses {
				b.add(slice, &slice.Endpoints[i], address, target)
			}
		}
	}
	now.serves = append(now.serves, distinct(b.serves, serve.compare)...)
	usable := b.ready
	if len(usable) == 0 {
		usable, now.spare = b.spare, true
	}
	b.port.Endpoints = slices.SortedFunc(maps.Values(usable), func(p, q mesh.Endpoint) int { return p.Address.Compare(q.Address) })
	b.port.Identities = distinct(b.port.Identities, identity.Compare)
	b.port.Pods = distinct(b.port.Pods, netip.AddrPort.Compare)
	return b.port
}

// add adds one address of an endpoint, or records why it is not used.
func (b *portBuilder) add(slice *discoveryv1.EndpointSlice, endpoint *discoveryv1.Endpoint, address string, target uint16) {
	addr, why := reachable(address)
	switch {
	case why != "":
		b.addFault(slice, unreachable, fmt.Sprintf("%.64q is %s", address, why))
		return
	case addr.Is4() != (slice.AddressType == discoveryv1.AddressTypeIPv4):
		b.addFault(slice, wrongFamily, fmt.Sprintf("%s does not have the slice's addressType %s", addr, slice.AddressType))
		return
	}
	b.now.addresses = append(b.now.addresses, addr)
	at := netip.AddrPortFrom(addr, target)
	if b.isAPIServer(b.now.result.Name, at) {
		b.addFault(slice, apiServer, fmt.Sprintf("%s is the API server", at))
		return
	}
	w, named, ok := b.resolve(slice, endpoint.TargetRef, addr)
	if !ok {
		return
	}
	meshed := w != nil && !api.ServedByProxy(target) && !slices.Contains(w.Unproxied, target)
	if w != nil {
		b.port.Identities = append(b.port.Identities, w.Identity)
	}
	if named && !api.ServedByProxy(target) {
		b.serves = append(b.serves, serve{pod: w.Name, port: target, protocol: b.protocol})
	}
	if meshed && b.now.result.Headless() {
		b.port.Pods = append(b.port.Pods, at)
	}
	switch c := endpoint.Conditions; {
	case isTrue(c.Ready, true):
		b.ready[at] = mesh.Endpoint{Address: at, Meshed: meshed}
	case isTrue(c.Serving, true) && isTrue(c.Terminating, false):
		b.spare[at] = mesh.Endpoint{Address: at, Meshed: meshed}
	case named && w.answers && !w.terminating && slice.Labels[discoveryv1.LabelManagedBy] == sliceController:
		b.spare[at] = mesh.Endpoint{Address: at, Meshed: meshed}
	}
}

// sliceController writes the slices of Services with a selector. Only it derives "ready" from the pods; in any other slice,
// whoever wrote "not ready" means it.
const sliceController = "endpointslice-controller.k8s.io"

// isTrue returns a condition of an endpoint; unset is what it means if it is not set.
func isTrue(condition *bool, unset bool) bool {
	if condition == nil {
		return unset
	}
	return *condition
}

// resolve returns the workload at an address, nil if the address is outside the mesh, and whether the slice
// names it. ok is false if the address must not be used.
func (b *portBuilder) resolve(slice *discoveryv1.EndpointSlice, ref *corev1.ObjectReference, addr netip.Addr) (w *workload, named, ok bool) {
	pod, uid := podOf(slice.Namespace, ref)
	owner, contested := b.owner(addr)
	switch {
	case contested:
		b.addFault(slice, disputed, fmt.Sprintf("%s is reported by several pods (%s)", addr, b.podNamesAt(addr)))
		return nil, false, false
	case owner == nil:
		return nil, false, b.outside(slice, pod, uid, addr)
	case owner.Name.Namespace != slice.Namespace:
		if !b.hasAddress(pod, addr) {
			b.addFault(slice, foreign, fmt.Sprintf("%s belongs to pod %s", addr, owner.Name))
		}
		return nil, false, false
	case pod == mesh.PodName{}:
		b.addFault(slice, unnamed, fmt.Sprintf("%s belongs to pod %s", addr, owner.Name))
		return owner, false, true
	case !owner.is(pod, uid):
		if pod != owner.Name && !b.hasAddress(pod, addr) { // otherwise the slice still lists a pod that is gone
			b.addFault(slice, misnamed, fmt.Sprintf("%s names pod %s as its target, but belongs to pod %s", addr, pod, owner.Name))
		}
		return nil, false, false
	default:
		return owner, true, true
	}
}

// outside reports whether an address that no workload has is outside the mesh. It is not if the slice names
// a workload for it: then an update of the pod or of the slice has yet to arrive.
func (b *portBuilder) outside(slice *discoveryv1.EndpointSlice, pod mesh.PodName, uid types.UID, addr netip.Addr) bool {
	if (pod == mesh.PodName{}) {
		return true
	}
	b.now.names = append(b.now.names, pod)
	w := b.workloads[pod]
	if w == nil {
		return true
	}
	if w.is(pod, uid) && len(w.Addresses) > 0 {
		b.addFault(slice, misnamed, fmt.Sprintf("%s names pod %s as its target, which has other addresses", addr, pod))
	}
	return false
}

// hasAddress reports whether the pod's status lists the address.
func (b *portBuilder) hasAddress(pod mesh.PodName, addr netip.Addr) bool {
	return slices.ContainsFunc(b.podsAt[addr], func(w *workload) bool { return w.Name == pod })
}

// podOf returns the pod that a reference names; the zero value if it names none in the namespace.
func podOf(namespace string, ref *corev1.ObjectReference) (mesh.PodName, types.UID) {
	if ref == nil || ref.Kind != "Pod" || ref.Name == "" || ref.Namespace != "" && ref.Namespace != namespace {
		return mesh.PodName{}, ""
	}
	return mesh.PodName{Namespace: namespace, Name: ref.Name}, ref.UID
}

// podNamesAt lists the first pods whose status lists an address.
func (s *State) podNamesAt(addr netip.Addr) string {
	text := ""
	for i, w := range s.podsAt[addr] {
		switch {
		case i == 3:
			return fmt.Sprintf("%s and %d more", text, len(s.podsAt[addr])-i)
		case i > 0:
			text += ", "
		}
		text += w.Name.String()
	}
	return text
}

func (b *portBuilder) addFault(slice *discoveryv1.EndpointSlice, of fault, what string) {
	key := faultKey{slice.Name, of}
	b.faults[key] = append(b.faults[key], what)
}

// sliceProblems returns one Problem for each slice and kind of fault, with an example.
func sliceProblems(object *corev1.Service, faults map[faultKey][]string) []Problem {
	keys := slices.SortedFunc(maps.Keys(faults), func(a, b faultKey) int {
		return cmp.Or(cmp.Compare(a.slice, b.slice), cmp.Compare(a.fault, b.fault))
	})
	var problems []Problem
	for _, key := range keys {
		all := distinct(faults[key], cmp.Compare[string])
		example := all[0]
		if len(all) > 1 {
			example += fmt.Sprintf(" (and %d more)", len(all)-1)
		}
		problems = append(problems, problemOf("EndpointSlice", object.Namespace, key.slice, "address "+key.fault.message(), example, object.Name))
	}
	return problems
}

// message returns the format of the Problem; its arguments are an example and the Service's name.
func (f fault) message() string {
	switch f {
	case unreachable, wrongFamily:
		return "%s: Service %s does not use it; list an address that other pods can reach"
	case apiServer:
		return "%s: Service %s does not use it; only Service default/kubernetes can"
	case foreign:
		return "%s of another namespace: Service %s does not use it; only Services in the pod's own namespace can"
	case disputed:
		return "%s: Service %s does not use it until only one pod reports it"
	case misnamed:
		return "%s: Service %s does not use it; set targetRef to the pod that has the address"
	default:
		return "%s, which the slice does not name: clients of Service %s reach the pod over mTLS, but its proxy handles the port as one without a Service; set targetRef to the pod, or give the Service a selector"
	}
}

// targetPort returns the number that a slice gives the TCP port of that name.
func targetPort(slice *discoveryv1.EndpointSlice, name string) (uint16, bool) {
	for _, port := range slice.Ports {
		sameName := port.Name != nil && *port.Name == name || port.Name == nil && name == ""
		tcp := port.Protocol == nil || *port.Protocol == corev1.ProtocolTCP
		if sameName && tcp && port.Port != nil && *port.Port > 0 && *port.Port <= 65535 {
			return uint16(*port.Port), true
		}
	}
	return 0, false
}

// servedFamily reports whether clients are sent to the addresses of a slice. Those of one family are enough,
// since each pod has an address of every family that its Service has. It is IPv4 wherever the Service has it,
// also as the second: proxies listen on IPv4 only.
func servedFamily(object *corev1.Service, slice *discoveryv1.EndpointSlice) bool {
	families := object.Spec.IPFamilies
	switch {
	case len(families) == 0:
		return slice.AddressType != discoveryv1.AddressTypeFQDN
	case slices.Contains(families, corev1.IPv4Protocol):
		return slice.AddressType == discoveryv1.AddressTypeIPv4
	default:
		return string(slice.AddressType) == string(families[0])
	}
}
