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

	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// What an EndpointSlice may say. Whoever can write slices in a namespace can put any address and any
// reference into them, so a slice counts for its own namespace only:
//
//   - an endpoint that names a pod of the slice's namespace (targetRef), which is a workload and has
//     the address, is that workload, and the port is one that the workload's proxy serves;
//   - a workload of the namespace that the slice does not name is reached over mTLS, but its proxy
//     learns nothing from the slice;
//   - an address of another namespace's workload leads nowhere. Otherwise clients would act on that
//     workload under their own identity while they mean to reach this Service;
//   - an address leads nowhere if it is disputed, does not belong to the named pod, belongs to the API
//     server, or cannot be reached from other pods;
//   - any other address is outside the mesh: plain text, where egress allows that.

// fault is why an address of a slice is not used as the slice says.
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

// complaint identifies the faults of one kind in one slice, which are reported together.
type complaint struct {
	slice string
	fault fault
}

// fold accumulates the endpoints of one service port.
type fold struct {
	*State
	now        *service
	object     *corev1.Service
	protocol   mesh.Protocol
	port       mesh.ServicePort
	endpoints  map[netip.AddrPort]mesh.Endpoint
	serves     []serve
	complaints map[complaint][]string
}

// servicePort collects the endpoints of one port from all slices of its service, and notes in now
// the workloads behind it.
func (s *State) servicePort(now *service, object *corev1.Service, port corev1.ServicePort, protocol mesh.Protocol, complaints map[complaint][]string) mesh.ServicePort {
	f := &fold{
		State: s, now: now, object: object, protocol: protocol, complaints: complaints,
		port:      mesh.ServicePort{Number: uint16(port.Port), Protocol: protocol}, //nolint:gosec // the API server admits 1 to 65535
		endpoints: map[netip.AddrPort]mesh.Endpoint{},
	}
	for _, slice := range s.spaces[object.Namespace].slicesOf[object.Name] {
		target, ok := targetPort(slice, port.Name)
		if !ok || !sameFamily(object, slice) {
			continue
		}
		for i := range slice.Endpoints {
			for _, address := range slice.Endpoints[i].Addresses {
				f.add(slice, &slice.Endpoints[i], address, target)
			}
		}
	}
	now.serves = append(now.serves, distinct(f.serves, serve.compare)...)
	f.port.Endpoints = slices.SortedFunc(maps.Values(f.endpoints), func(p, q mesh.Endpoint) int { return p.Address.Compare(q.Address) })
	f.port.Identities = distinct(f.port.Identities, identity.Compare)
	f.port.Pods = distinct(f.port.Pods, netip.AddrPort.Compare)
	return f.port
}

// add adds one address of an endpoint unless it leads nowhere.
func (f *fold) add(slice *discoveryv1.EndpointSlice, endpoint *discoveryv1.Endpoint, address string, target uint16) {
	addr, why := reachable(address)
	switch {
	case why != "":
		f.complain(slice, unreachable, fmt.Sprintf("%.64q is %s", address, why))
		return
	case addr.Is4() != (slice.AddressType == discoveryv1.AddressTypeIPv4):
		f.complain(slice, wrongFamily, fmt.Sprintf("%s is not of the slice's addressType %s", addr, slice.AddressType))
		return
	}
	f.now.addresses = append(f.now.addresses, addr)
	at := netip.AddrPortFrom(addr, target)
	if f.isAPIServer(f.now.result.Name, at) {
		f.complain(slice, apiServer, fmt.Sprintf("%s is the API server", at))
		return
	}
	w, named, ok := f.resolve(slice, endpoint.TargetRef, addr)
	if !ok {
		return
	}
	meshed := w != nil && !slices.Contains(w.Unproxied, target)
	if w != nil {
		f.port.Identities = append(f.port.Identities, w.Identity)
	}
	if named {
		f.serves = append(f.serves, serve{pod: w.Name, port: target, protocol: f.protocol})
	}
	if meshed && f.now.result.Headless() {
		f.port.Pods = append(f.port.Pods, at)
	}
	if ready := endpoint.Conditions.Ready; ready == nil || *ready {
		f.endpoints[at] = mesh.Endpoint{Address: at, Meshed: meshed}
	}
}

// resolve finds the workload at an address, nil if it is outside the mesh, and reports whether the slice
// names it. ok is false for an address that leads nowhere.
func (f *fold) resolve(slice *discoveryv1.EndpointSlice, ref *corev1.ObjectReference, addr netip.Addr) (w *workload, named, ok bool) {
	pod, uid := podOf(slice.Namespace, ref)
	holder, contested := f.holder(addr)
	switch {
	case contested:
		f.complain(slice, disputed, fmt.Sprintf("%s is shown by pods %s", addr, f.claimants(addr)))
		return nil, false, false
	case holder == nil:
		return nil, false, f.outside(slice, pod, uid, addr)
	case holder.Name.Namespace != slice.Namespace:
		if !f.shows(pod, addr) {
			f.complain(slice, foreign, fmt.Sprintf("%s belongs to pod %s", addr, holder.Name))
		}
		return nil, false, false
	case pod == mesh.PodName{}:
		f.complain(slice, unnamed, fmt.Sprintf("%s belongs to pod %s", addr, holder.Name))
		return holder, false, true
	case !holder.is(pod, uid):
		if pod != holder.Name && !f.shows(pod, addr) { // otherwise the slice still lists a pod that is gone
			f.complain(slice, misnamed, fmt.Sprintf("%s is said to belong to pod %s and belongs to pod %s", addr, pod, holder.Name))
		}
		return nil, false, false
	default:
		return holder, true, true
	}
}

// outside reports whether an address that no workload has counts as outside the mesh. It does not if the
// slice names a workload for it: then an update of the pod or of the slice is still to come.
func (f *fold) outside(slice *discoveryv1.EndpointSlice, pod mesh.PodName, uid types.UID, addr netip.Addr) bool {
	if (pod == mesh.PodName{}) {
		return true
	}
	f.now.names = append(f.now.names, pod)
	w := f.workloads[pod]
	if w == nil {
		return true
	}
	if w.is(pod, uid) && len(w.Addresses) > 0 {
		f.complain(slice, misnamed, fmt.Sprintf("%s is said to belong to pod %s, which has other addresses", addr, pod))
	}
	return false
}

// shows reports whether that pod is among those that show the address.
func (f *fold) shows(pod mesh.PodName, addr netip.Addr) bool {
	return slices.ContainsFunc(f.claims[addr], func(w *workload) bool { return w.Name == pod })
}

// podOf is the pod of the namespace that a reference names; the zero value if it names none.
func podOf(namespace string, ref *corev1.ObjectReference) (mesh.PodName, types.UID) {
	if ref == nil || ref.Kind != "Pod" || ref.Name == "" || ref.Namespace != "" && ref.Namespace != namespace {
		return mesh.PodName{}, ""
	}
	return mesh.PodName{Namespace: namespace, Name: ref.Name}, ref.UID
}

// claimants are the names of the first pods that show an address.
func (s *State) claimants(addr netip.Addr) string {
	text := ""
	for i, w := range s.claims[addr] {
		switch {
		case i == 3:
			return fmt.Sprintf("%s and %d more", text, len(s.claims[addr])-i)
		case i > 0:
			text += ", "
		}
		text += w.Name.String()
	}
	return text
}

func (f *fold) complain(slice *discoveryv1.EndpointSlice, of fault, what string) {
	key := complaint{slice.Name, of}
	f.complaints[key] = append(f.complaints[key], what)
}

// sliceProblems says once for each slice and kind of fault what is wrong, by example.
func sliceProblems(object *corev1.Service, complaints map[complaint][]string) []Problem {
	keys := slices.SortedFunc(maps.Keys(complaints), func(a, b complaint) int {
		return cmp.Or(cmp.Compare(a.slice, b.slice), cmp.Compare(a.fault, b.fault))
	})
	var problems []Problem
	for _, key := range keys {
		all := distinct(complaints[key], cmp.Compare[string])
		example := all[0]
		if len(all) > 1 {
			example += fmt.Sprintf(" (and %d more)", len(all)-1)
		}
		problems = append(problems, problemOf("EndpointSlice", object.Namespace, key.slice, "address "+key.fault.message(), example, object.Name))
	}
	return problems
}

// message takes what is wrong, by example, and the Service's name.
func (f fault) message() string {
	switch f {
	case unreachable, wrongFamily:
		return "%s: clients of Service %s are not sent there; list addresses that other pods can reach"
	case apiServer:
		return "%s: clients of Service %s are not sent there; Service default/kubernetes leads to it"
	case foreign:
		return "%s of another namespace: clients of Service %s are not sent there; only Services of the pod's own namespace lead to it"
	case disputed:
		return "%s: clients of Service %s are not sent there; it counts again when one pod alone has it"
	case misnamed:
		return "%s: clients of Service %s are not sent there; set targetRef to the pod that has the address"
	default:
		return "%s, which the slice does not name: clients of Service %s reach it over mTLS, but its proxy takes the port for one without a Service; set targetRef to the pod, or give the Service a selector"
	}
}

// targetPort is the number that a slice gives to the service port of that name.
func targetPort(slice *discoveryv1.EndpointSlice, name string) (uint16, bool) {
	for _, port := range slice.Ports {
		sameName := port.Name != nil && *port.Name == name || port.Name == nil && name == ""
		if sameName && port.Port != nil && *port.Port > 0 && *port.Port <= 65535 {
			return uint16(*port.Port), true
		}
	}
	return 0, false
}

// sameFamily keeps a dual-stack service from listing every pod twice: only the slices of its
// primary address family count.
func sameFamily(object *corev1.Service, slice *discoveryv1.EndpointSlice) bool {
	if len(object.Spec.IPFamilies) == 0 {
		return slice.AddressType != discoveryv1.AddressTypeFQDN
	}
	return string(slice.AddressType) == string(object.Spec.IPFamilies[0])
}
