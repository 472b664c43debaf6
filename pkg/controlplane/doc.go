// Package controlplane is the map of the control plane; it holds no code, only the tests that look
// at the whole: the import rules (arch_test.go) and the stories that run from Kubernetes objects
// to Envoy's configuration (testdata/stories).
//
// # The way of the data
//
//	kube      informers, trimmed on arrival                      edge
//	coalesce  bursts of changes become one                       edge
//	ingest    objects -> *mesh.Snapshot + problems               pure
//	policy    settings, rules -> what may be received and sent   pure
//	envoy     policy -> resources, shared by pointer in a View   pure
//	xds       each stream sends its proxy what its View has new  edge
//
// Beside it: identity (who a workload is), ca (roots, trust and leaves; below it the providers tresor, vault and certmanager,
// leafcache, which renews the workloads' leaves, and secrets, which keeps certificates in Secrets),
// provider (opens the provider that signs and loads the roots of the mesh), rotation (how the mesh gets to another root: phases,
// evidence, plan; its edge is rotation/collect and rotation/driver), serve (health, metrics, drain), wake (the signal between goroutines), injector and redirect (the pod's side), webhook (what the
// API server needs to call injectors), bootstrap (the install hook) and controller, which knows all of them and holds no logic.
//
// # The words
//
//	mesh       a control plane and the namespaces that it monitors
//	workload   an injected pod
//	identity   a ServiceAccount, spelled as a SPIFFE id in certificates
//	service    a Kubernetes Service in a namespace of the mesh
//	proxy      the Envoy beside a workload
//	snapshot   one immutable state of the mesh
//	class      workloads that get equal configuration: same identity, same inbound ports
//	rule       identities that may connect to one identity
//	group      identities that may send to the same destinations
//	resource   one cluster, endpoint set, listener or route, encoded once and shared
//	view       the resources of one class: its group's and its own
//	version    the hash of a resource's content, the same on every replica
//	leaf       a short-lived certificate of one identity, signed by the root
//	root       the mesh's CA; trust bundle: the roots that are accepted
//
// The invariant of the whole: the configuration of a proxy is a function of what the API server
// holds, and of nothing else. N replicas compute the same bytes without knowing of each other.
package controlplane
