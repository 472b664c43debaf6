// Package controlplane is the map of the control plane. It holds no code, only the tests that look at the whole: the import
// rules (arch_test.go) and the stories that run from Kubernetes objects to Envoy's configuration (testdata/stories).
//
// # Data flow
//
//	kube      informers; objects are trimmed on arrival           edge
//	coalesce  merges bursts of changes into one                   edge
//	ingest    objects -> *mesh.Snapshot and problems              pure
//	policy    settings, rules -> what may be received and sent    pure
//	envoy     policy -> resources, shared by pointer in a View    pure
//	xds       each stream sends its proxy what is new in its View edge
//
// The pure packages share two vocabularies: identity (who a workload is) and mesh (services, workloads, rules, settings).
//
// # Certificates
//
//	ca                 roots, trust bundles, keys, certificate requests and leaves
//	ca/source          what each provider's package implements
//	ca/tresor          the built-in provider, with its root in a Secret
//	ca/vault           Vault as a provider
//	ca/certmanager     cert-manager as a provider
//	ca/leafcache       keeps the workloads' leaves and renews them
//	ca/secrets         keeps proxies' and injectors' certificates in Secrets
//	provider           opens the providers that sign, and loads the roots of the mesh
//	rotation           replaces the root: phases, evidence, plan
//	rotation/collect   asks the replicas for evidence
//	rotation/driver    the leader's side: evidence -> plan -> one write
//
// # Processes
//
//	command         the subcommands of the control-plane binary and their flags
//	controller      the composition of everything above, run by the controller
//	injector        the admission webhook that adds a sidecar to pods
//	redirect        the init container that redirects a pod's traffic
//	bootstrap       the install hook: CRDs and the MeshConfig
//	bootstrap/crds  the CRDs
//	webhook         keeps the webhook configuration's CA bundle current
//	rebalance       how many proxies a replica sends to new replicas
//	serve           what every process serves: health, metrics, drain
//	wake            the signal that one goroutine gives another
//
// # Glossary
//
//	mesh       a control plane and the namespaces that it monitors
//	workload   an injected pod
//	identity   a ServiceAccount, written as a SPIFFE ID in certificates
//	service    a Kubernetes Service in a namespace of the mesh
//	proxy      the Envoy beside a workload
//	snapshot   one immutable state of the mesh
//	class      workloads with equal configuration: same identity, same inbound ports
//	rule       identities that may connect to one identity
//	group      identities that may send to the same destinations
//	resource   one cluster, endpoint set, listener or route, encoded once and shared
//	view       the resources of one class: its group's and its own
//	version    the hash of a resource's content, the same on every replica
//	leaf       a short-lived certificate of one identity, signed by the root
//	root       the mesh's CA; trust bundle: the roots that are accepted
//
// The invariant of the whole: the configuration of a proxy is a function of what the API server holds, and of nothing else. N
// replicas compute the same bytes without communicating.
package controlplane
