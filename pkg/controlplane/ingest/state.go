package ingest

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/api/membership"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// State follows a mesh's objects. The Set methods only note what is to be looked at again; Snapshot
// does the work, for all that was noted since the last one. Not safe for concurrent use.
type State struct {
	meshName string
	domain   identity.TrustDomain
	limits   mesh.Limits
	config   *v1alpha2.MeshConfig
	spaces   map[string]*space

	workloads map[mesh.PodName]*workload
	services  map[mesh.ServiceName]*service
	// claims are the workloads that show an address, sorted by name; holder says whose it is.
	claims map[netip.Addr][]*workload
	// hosts counts the pods on the node with that address; hostsOf are a pod's node's addresses.
	hosts   map[netip.Addr]int
	hostsOf map[mesh.PodName][]netip.Addr
	// users are the services with an endpoint at an address; awaited those that name a pod at an address
	// which no workload has.
	users   map[netip.Addr]map[mesh.ServiceName]bool
	awaited map[mesh.PodName]map[mesh.ServiceName]bool
	// apiServer is where the API server is, sorted.
	apiServer []netip.AddrPort

	// What Snapshot has to look at.
	configChanged    bool
	changedPods      map[mesh.PodName]bool
	changedServices  map[mesh.ServiceName]bool
	changedWorkloads map[mesh.PodName]bool // those whose inbound ports may have changed

	problems problemSet
	last     *mesh.Snapshot
}

// space is a namespace and the objects in it, whether it belongs to the mesh or not: it may join.
type space struct {
	member   bool
	pods     map[string]*corev1.Pod
	services map[string]*corev1.Service
	slices   map[string]*discoveryv1.EndpointSlice
	// slicesOf are the slices of a service by their names.
	slicesOf map[string]map[string]*discoveryv1.EndpointSlice
}

// NewState returns the State of a mesh without any object.
func NewState(meshName string, domain identity.TrustDomain) *State {
	return &State{
		meshName: meshName, domain: domain, configChanged: true,
		spaces:           map[string]*space{},
		workloads:        map[mesh.PodName]*workload{},
		services:         map[mesh.ServiceName]*service{},
		claims:           map[netip.Addr][]*workload{},
		hosts:            map[netip.Addr]int{},
		hostsOf:          map[mesh.PodName][]netip.Addr{},
		users:            map[netip.Addr]map[mesh.ServiceName]bool{},
		awaited:          map[mesh.PodName]map[mesh.ServiceName]bool{},
		changedPods:      map[mesh.PodName]bool{},
		changedServices:  map[mesh.ServiceName]bool{},
		changedWorkloads: map[mesh.PodName]bool{},
		problems:         problemSet{by: map[string][]Problem{}},
	}
}

// SetMeshConfig takes the mesh's configuration; nil when it has none.
func (s *State) SetMeshConfig(config *v1alpha2.MeshConfig) {
	s.config, s.configChanged = config, true
}

// SetLimits takes the limits of the mesh's proxies.
func (s *State) SetLimits(limits mesh.Limits) {
	s.limits, s.configChanged = limits, true
}

// SetNamespace takes a namespace as it is now; nil when it is gone.
func (s *State) SetNamespace(name string, ns *corev1.Namespace) {
	member := ns != nil && membership.Member(ns.Labels, s.meshName)
	in := s.space(name)
	if in.member != member {
		in.member = member
		for pod := range in.pods {
			s.changedPods[mesh.PodName{Namespace: name, Name: pod}] = true
		}
		for service := range in.services {
			s.changedServices[mesh.ServiceName{Namespace: name, Name: service}] = true
		}
	}
	s.tidy(name)
}

// SetPod takes a pod as it is now; nil when it is gone.
func (s *State) SetPod(namespace, name string, pod *corev1.Pod) {
	set(s.space(namespace).pods, name, pod)
	s.changedPods[mesh.PodName{Namespace: namespace, Name: name}] = true
	s.tidy(namespace)
}

// SetService takes a Service as it is now; nil when it is gone.
func (s *State) SetService(namespace, name string, service *corev1.Service) {
	set(s.space(namespace).services, name, service)
	s.changedServices[mesh.ServiceName{Namespace: namespace, Name: name}] = true
	s.tidy(namespace)
}

// SetEndpointSlice takes a slice as it is now; nil when it is gone.
func (s *State) SetEndpointSlice(namespace, name string, slice *discoveryv1.EndpointSlice) {
	in := s.space(namespace)
	if before := in.slices[name]; before != nil {
		s.assign(namespace, before.Labels[discoveryv1.LabelServiceName], name, nil)
	}
	set(in.slices, name, slice)
	if slice != nil {
		s.assign(namespace, slice.Labels[discoveryv1.LabelServiceName], name, slice)
	}
	s.tidy(namespace)
}

// assign gives a slice to its service, or takes it away.
func (s *State) assign(namespace, service, name string, slice *discoveryv1.EndpointSlice) {
	if service == "" {
		return
	}
	of := s.space(namespace).slicesOf
	if of[service] == nil {
		of[service] = map[string]*discoveryv1.EndpointSlice{}
	}
	set(of[service], name, slice)
	if len(of[service]) == 0 {
		delete(of, service)
	}
	s.changedServices[mesh.ServiceName{Namespace: namespace, Name: service}] = true
}

func set[T any](in map[string]*T, name string, object *T) {
	if object == nil {
		delete(in, name)
	} else {
		in[name] = object
	}
}

func (s *State) space(name string) *space {
	in := s.spaces[name]
	if in == nil {
		in = &space{
			pods: map[string]*corev1.Pod{}, services: map[string]*corev1.Service{},
			slices: map[string]*discoveryv1.EndpointSlice{}, slicesOf: map[string]map[string]*discoveryv1.EndpointSlice{},
		}
		s.spaces[name] = in
	}
	return in
}

// tidy forgets a namespace of which nothing is left.
func (s *State) tidy(name string) {
	if in := s.spaces[name]; !in.member && len(in.pods)+len(in.services)+len(in.slices) == 0 {
		delete(s.spaces, name)
	}
}

// Snapshot returns the mesh as the objects are now, and what is wrong with them, sorted. Where
// nothing changed it is the same snapshot as before, and a part that did not change is the same
// pointer.
func (s *State) Snapshot() (*mesh.Snapshot, []Problem) {
	settings, services, workloads := mesh.Settings{}, []*mesh.Service(nil), []*mesh.Workload(nil)
	if s.last != nil {
		settings, services, workloads = s.last.Settings(), s.last.Services(), s.last.Workloads()
	}
	changed := s.last == nil
	if s.configChanged {
		before := settings
		settings = s.settings()
		changed = changed || settings != before
		s.configChanged = false
	}
	for name := range s.changedPods {
		s.updatePod(name)
	}
	s.updateAPIServer()
	newServices := map[mesh.ServiceName]*mesh.Service{}
	for name := range s.changedServices {
		s.updateService(name, newServices)
	}
	newWorkloads := map[mesh.PodName]*mesh.Workload{}
	for name := range s.changedWorkloads {
		s.updateWorkload(name, newWorkloads)
	}
	clear(s.changedPods)
	clear(s.changedServices)
	clear(s.changedWorkloads)
	if changed || len(newServices)+len(newWorkloads) > 0 {
		services = patch(services, newServices, func(s *mesh.Service) mesh.ServiceName { return s.Name })
		workloads = patch(workloads, newWorkloads, func(w *mesh.Workload) mesh.PodName { return w.Name })
		s.last = mesh.New(settings, services, workloads)
	}
	return s.last, s.problems.sorted()
}

// patch returns a sorted list with the changes by name applied, nil meaning gone. The list that it
// is given stays as it is.
func patch[N interface {
	comparable
	Compare(N) int
}, T any](list []*T, changes map[N]*T, name func(*T) N) []*T {
	if len(changes) == 0 {
		return list
	}
	patched := make([]*T, 0, len(list)+len(changes))
	for _, item := range list {
		if _, changed := changes[name(item)]; !changed {
			patched = append(patched, item)
		}
	}
	kept := len(patched)
	for _, item := range changes {
		if item != nil {
			patched = append(patched, item)
		}
	}
	if len(patched) > kept {
		slices.SortFunc(patched, func(a, b *T) int { return name(a).Compare(name(b)) })
	}
	return patched
}

func (s *State) settings() mesh.Settings {
	settings := mesh.Settings{TrustDomain: s.domain, Limits: s.limits}
	if s.config == nil {
		s.problems.set("MeshConfig", problemOf("MeshConfig", "", api.MeshConfigName,
			"does not exist: every connection is refused until it does; run `osm upgrade` to restore it"))
		return settings
	}
	s.problems.set("MeshConfig")
	settings.Permissive = s.config.Spec.Traffic.EnablePermissiveTrafficPolicyMode
	settings.Egress = s.config.Spec.Traffic.EnableEgress
	settings.AppOnPodIP = s.config.Spec.Sidecar.LocalProxyMode == v1alpha2.LocalProxyModePodIP
	return settings
}

// problemSet keeps the problems of each part of the mesh, and their sorted list until one changes.
type problemSet struct {
	by   map[string][]Problem
	list []Problem
}

func (p *problemSet) set(part string, problems ...Problem) {
	if slices.Equal(p.by[part], problems) {
		return
	}
	if p.list = nil; len(problems) == 0 {
		delete(p.by, part)
	} else {
		p.by[part] = problems
	}
}

func (p *problemSet) sorted() []Problem {
	if p.list == nil {
		p.list = []Problem{}
		for _, problems := range p.by {
			p.list = append(p.list, problems...)
		}
		slices.SortFunc(p.list, func(a, b Problem) int { return strings.Compare(a.String(), b.String()) })
		p.list = slices.Compact(p.list)
	}
	return p.list
}
