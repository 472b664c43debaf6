package apitest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

type kind struct {
	group, version, resource, kind string
	namespaced                     bool
}

var (
	namespaces       = kind{"", "v1", "namespaces", "Namespace", false}
	leases           = kind{"coordination.k8s.io", "v1", "leases", "Lease", true}
	rootCertificates = kind{"config.openservicemesh.io", "v1alpha2", "meshrootcertificates", "MeshRootCertificate", true}
)

// reviews is the API group of access reviews, which change nothing.
const reviews = "authorization.k8s.io"

// kinds are the kinds that the server always serves.
var kinds = []kind{
	namespaces,
	{"", "v1", "nodes", "Node", false},
	{"", "v1", "pods", "Pod", true},
	{"", "v1", "services", "Service", true},
	{"", "v1", "serviceaccounts", "ServiceAccount", true},
	{"", "v1", "configmaps", "ConfigMap", true},
	{"", "v1", "secrets", "Secret", true},
	{"", "v1", "events", "Event", true},
	{"apps", "v1", "deployments", "Deployment", true},
	{"batch", "v1", "jobs", "Job", true},
	{"autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true},
	{"policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", true},
	{"networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", true},
	{"discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true},
	leases,
	{"rbac.authorization.k8s.io", "v1", "roles", "Role", true},
	{"rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", true},
	{"rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false},
	{"rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", false},
	{"admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", false},
	{"admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", false},
	{"admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", false},
	{"apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", false},
	{"config.openservicemesh.io", "v1alpha2", "meshconfigs", "MeshConfig", true},
	rootCertificates,
	{reviews, "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", false},
	{reviews, "v1", "subjectaccessreviews", "SubjectAccessReview", false},
}

var podMetrics = kind{"metrics.k8s.io", "v1beta1", "pods", "PodMetrics", true}

// certManager are the kinds of cert-manager.
var certManager = []kind{
	{"cert-manager.io", "v1", "certificaterequests", "CertificateRequest", true},
	{"cert-manager.io", "v1", "issuers", "Issuer", true},
	{"cert-manager.io", "v1", "clusterissuers", "ClusterIssuer", false},
}

func (k kind) apiVersion() string { return strings.TrimPrefix(k.group+"/"+k.version, "/") }
func (k kind) prefix() string     { return k.group + "/" + k.resource + "/" }
func (k kind) key(namespace, name string) string {
	if !k.namespaced {
		namespace = ""
	}
	return k.prefix() + namespace + "/" + name
}

func kindByName(object Object) (kind, bool) {
	kinds := slices.Concat(kinds, certManager)
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.apiVersion() == object["apiVersion"] && k.kind == object["kind"] })
	if i < 0 {
		return kind{}, false
	}
	return kinds[i], true
}

func (s *Server) kinds() []kind {
	served := slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool { return s.Old && k == rootCertificates })
	if s.Metrics {
		served = append(served, podMetrics)
	}
	if s.CertManager {
		served = append(served, certManager...)
	}
	return served
}

// discovery responds to discovery requests.
func (s *Server) discovery(w http.ResponseWriter, r *http.Request) bool {
	path := strings.TrimSuffix(r.URL.Path, "/")
	groups := map[string][]kind{}
	for _, k := range s.kinds() {
		groups[k.apiVersion()] = append(groups[k.apiVersion()], k)
	}
	switch {
	case path == "/version":
		answer(w, http.StatusOK, Object{"major": "1", "minor": "33", "gitVersion": s.Version})
	case path == "/api":
		answer(w, http.StatusOK, Object{"kind": "APIVersions", "versions": []string{"v1"}})
	case path == "/apis":
		answer(w, http.StatusOK, Object{"kind": "APIGroupList", "apiVersion": "v1", "groups": groupList(groups)})
	case path == "/openapi/v3":
		answer(w, http.StatusOK, Object{"paths": openAPIPaths(groups)})
	case strings.HasPrefix(path, "/openapi/v3/api"):
		version := strings.TrimPrefix(strings.TrimPrefix(path, "/openapi/v3/apis/"), "/openapi/v3/api/")
		answer(w, http.StatusOK, openAPI(groups[version]))
	default:
		resources, ok := groups[strings.TrimPrefix(strings.TrimPrefix(path, "/apis/"), "/api/")]
		if !ok {
			return false
		}
		answer(w, http.StatusOK, resourceList(resources))
	}
	return true
}

func openAPIPaths(groups map[string][]kind) Object {
	paths := Object{}
	for version, list := range groups {
		root := "apis/"
		if list[0].group == "" {
			root = "api/"
		}
		paths[root+version] = Object{"serverRelativeURL": "/openapi/v3/" + root + version}
	}
	return paths
}

// openAPI only states that the server validates fields itself, which clients check.
func openAPI(list []kind) Object {
	paths := Object{}
	for _, k := range list {
		paths["/"+k.resource+"/{name}"] = Object{"patch": Object{
			"parameters":                      []Object{{"name": "fieldValidation", "in": "query"}},
			"x-kubernetes-group-version-kind": Object{"group": k.group, "version": k.version, "kind": k.kind},
		}}
	}
	return Object{"openapi": "3.0.0", "info": Object{"title": "apitest", "version": "1"}, "paths": paths}
}

func groupList(groups map[string][]kind) []Object {
	list := []Object{}
	for _, version := range slices.Sorted(maps.Keys(groups)) {
		if group := groups[version][0].group; group != "" {
			v := Object{"groupVersion": version, "version": groups[version][0].version}
			list = append(list, Object{"name": group, "versions": []Object{v}, "preferredVersion": v})
		}
	}
	return list
}

func resourceList(resources []kind) Object {
	items := []Object{}
	for _, k := range resources {
		verbs := []string{"get", "list", "create", "update", "patch", "delete"}
		if k.group == podMetrics.group {
			verbs = []string{"get", "list"}
		}
		if k.group == reviews {
			verbs = []string{"create"}
		}
		items = append(items, Object{"name": k.resource, "singularName": "", "namespaced": k.namespaced, "kind": k.kind, "verbs": verbs})
	}
	return Object{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": resources[0].apiVersion(), "resources": items}
}

func (s *Server) review(w http.ResponseWriter, r request, body []byte) {
	var review struct {
		Spec struct {
			User               string
			ResourceAttributes struct{ Verb, Resource string }
		}
	}
	if err := json.Unmarshal(body, &review); err != nil {
		fail(w, http.StatusBadRequest, "BadRequest", err.Error(), "", "")
		return
	}
	asked, deny := review.Spec.ResourceAttributes, s.Deny
	if review.Spec.User != "" {
		deny = s.DenyAccounts
	}
	allowed := !slices.Contains(deny, asked.Verb+" "+asked.Resource)
	answer(w, http.StatusCreated, Object{"apiVersion": r.kind.apiVersion(), "kind": r.kind.kind, "status": Object{"allowed": allowed}})
}

// proxy responds for a pod, addressed as http:NAME:PORT.
func (s *Server) proxy(w http.ResponseWriter, r request) {
	pod, path := podName(r.name), strings.TrimPrefix(r.subresource, "proxy")
	body, ok := s.page(http.MethodGet, pod, path)
	if path == "/version" && !ok {
		body, ok = s.Versions[pod]
	}
	if !ok {
		fail(w, http.StatusServiceUnavailable, "ServiceUnavailable", fmt.Sprintf("pod %s does not answer", r.name), "", "")
		return
	}
	fmt.Fprint(w, body)
}

func podName(address string) string {
	parts := strings.Split(address, ":")
	return parts[min(1, len(parts)-1)]
}

// hangs reports whether a request goes to a pod that never responds, or over a blocked route.
func (s *Server) hangs(r *http.Request) bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	parsed, err := s.parse(r)
	if err != nil {
		return false
	}
	proxied := strings.HasPrefix(parsed.subresource, "proxy")
	return proxied && s.Fenced || (proxied || parsed.subresource == "portforward") && s.Hanging[podName(parsed.name)]
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(body) //nolint:errcheck,errchkjson // a test server
}

func fail(w http.ResponseWriter, code int, reason, message, resource, name string) {
	answer(w, code, Object{
		"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message,
		"details": Object{"kind": resource, "name": name},
	})
}

func notFound(w http.ResponseWriter, resource, name string) {
	fail(w, http.StatusNotFound, "NotFound", fmt.Sprintf("%s %q not found", resource, name), resource, name)
}

func (s *Server) keys() []string { return slices.Sorted(maps.Keys(s.objects)) }
