package apitest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	jsonpatch "github.com/evanphx/json-patch"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// reconcile simulates the controllers: addresses of Services, the autoscaler's minimum, pods, Jobs, and
// status.
func (s *Server) reconcile() {
	floors := map[string]float64{}
	for _, hpa := range s.ofKind("HorizontalPodAutoscaler") {
		floor, _ := table(hpa, "spec")["minReplicas"].(float64)
		floors[meta(hpa, "namespace")+"/"+nested(hpa, "spec", "scaleTargetRef", "name")] = max(1, floor)
	}
	for _, service := range s.ofKind("Service") {
		if spec := table(service, "spec"); spec != nil && spec["clusterIP"] == nil {
			spec["clusterIP"] = "10.96.0.10"
		}
	}
	for _, deployment := range s.ofKind("Deployment") {
		s.deploy(deployment, floors[meta(deployment, "namespace")+"/"+meta(deployment, "name")])
	}
	for _, job := range s.ofKind("Job") {
		if job["status"] == nil {
			s.runJob(job)
		}
	}
	s.endpoints()
	s.budgets()
	s.autoscalers()
}

func (s *Server) deploy(deployment Object, floor float64) {
	spec := table(deployment, "spec")
	if spec == nil {
		spec = Object{}
		deployment["spec"] = spec
	}
	replicas, ok := spec["replicas"].(float64)
	if !ok {
		replicas = 1
	}
	replicas = max(replicas, floor)
	spec["replicas"] = replicas
	app := objectLabels(deployment)["app"]
	ready := replicas
	if s.Stuck[app] != "" {
		ready = 0
	}
	deployment["status"] = Object{"replicas": replicas, "updatedReplicas": replicas, "availableReplicas": ready, "readyReplicas": ready}
	pods := kind{"", "v1", "pods", "Pod", true}
	for _, pod := range s.list(pods, meta(deployment, "namespace"), "apitest/owner="+meta(deployment, "name"), "") {
		delete(s.objects, pods.key(meta(pod, "namespace"), meta(pod, "name")))
	}
	for i := range int(replicas) {
		s.store(pods, s.pod(deployment, app, i))
	}
}

func (s *Server) pod(owner Object, app string, i int) Object {
	name := fmt.Sprintf("%s-%d", meta(owner, "name"), i)
	node := fmt.Sprintf("node-%d", i%3+1)
	if s.OneNode {
		node = "node-1"
	}
	pod := Object{
		"metadata": Object{"name": name, "namespace": meta(owner, "namespace"), "labels": Object{"app": app, "apitest/owner": meta(owner, "name")},
			"ownerReferences": []any{Object{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": "x", "controller": true}}},
		"spec": Object{"nodeName": node},
		"status": Object{"phase": "Running", "conditions": []any{Object{"type": "Ready", "status": "True"}},
			"containerStatuses": []any{Object{"name": app, "ready": true, "state": Object{"running": Object{}}}}},
	}
	switch reason, _, _ := strings.Cut(s.Stuck[app], ","); reason {
	case "":
	case "Unschedulable":
		pod["status"] = Object{"phase": "Pending", "conditions": []any{Object{"type": "PodScheduled", "status": "False", "reason": reason, "message": "0/3 nodes are available: 3 Insufficient memory."}}}
	case "CrashLoopBackOff":
		pod["status"] = Object{"phase": "Running", "conditions": []any{Object{"type": "Ready", "status": "False"}},
			"containerStatuses": []any{Object{"name": app, "state": Object{"waiting": Object{"reason": reason, "message": "back-off 10s"}},
				"lastState": Object{"terminated": Object{"exitCode": 2, "reason": "Error"}}}}}
	default:
		pod["status"] = Object{"phase": "Pending", "conditions": []any{Object{"type": "Ready", "status": "False"}},
			"containerStatuses": []any{Object{"name": app, "state": Object{"waiting": Object{"reason": reason, "message": "Back-off pulling image"}}}}}
	}
	return pod
}

// nextReason lets pods that are stuck for several reasons wait for the next one.
func (s *Server) nextReason() {
	for app, reasons := range s.Stuck {
		_, rest, more := strings.Cut(reasons, ",")
		if !more {
			continue
		}
		s.Stuck[app] = rest
		for _, deployment := range s.list(kind{"apps", "v1", "deployments", "Deployment", true}, "", "app="+app, "") {
			s.deploy(deployment, 0)
		}
	}
}

func (s *Server) runJob(job Object) {
	condition, succeeded := "Complete", 1
	if s.FailJobs {
		condition, succeeded = "Failed", 0
		name := meta(job, "name") + "-0"
		s.store(kind{"", "v1", "pods", "Pod", true}, Object{
			"metadata": Object{"name": name, "namespace": meta(job, "namespace"), "labels": Object{"app": meta(job, "name")}},
			"status": Object{"phase": "Failed", "containerStatuses": []any{Object{"name": meta(job, "name"),
				"state": Object{"terminated": Object{"exitCode": 1, "reason": "Error"}}}}},
		})
		s.store(kind{"", "v1", "events", "Event", true}, Object{
			"metadata": Object{"name": name + ".1", "namespace": meta(job, "namespace")}, "involvedObject": Object{"name": name},
			"type": "Warning", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit",
		})
	}
	job["status"] = Object{"succeeded": succeeded, "conditions": []any{Object{"type": condition, "status": "True", "reason": "BackoffLimitExceeded"}}}
}

// collect deletes the dependents of a deleted object.
func (s *Server) collect(k kind, name string) {
	for _, key := range s.keys() {
		object := s.objects[key]
		gone := k.kind == "Namespace" && meta(object, "namespace") == name
		gone = gone || (k.kind == "Deployment" && objectLabels(object)["apitest/owner"] == name)
		gone = gone || (k.kind == "Job" && meta(object, "name") == name+"-0")
		if gone {
			delete(s.objects, key)
		}
	}
}

func (s *Server) ofKind(name string) []Object {
	for _, k := range kinds {
		if k.kind == name {
			return s.list(k, "", "", "")
		}
	}
	return nil
}

// patched applies a request's body to an object as its content type says.
func patched(old Object, body []byte, r request) (Object, error) {
	if r.Method == http.MethodPut {
		var object Object
		err := json.Unmarshal(body, &object)
		return object, err
	}
	original, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	var result []byte
	switch contentType := r.Header.Get("Content-Type"); {
	case strings.HasPrefix(contentType, "application/strategic-merge-patch"):
		typed, err := scheme.Scheme.New(schema.GroupVersionKind{Group: r.kind.group, Version: r.kind.version, Kind: r.kind.kind})
		if err != nil {
			return nil, err
		}
		result, err = strategicpatch.StrategicMergePatch(original, body, typed)
		if err != nil {
			return nil, err
		}
	case strings.HasPrefix(contentType, "application/apply-patch"):
		// Close enough to server-side apply for what the CLI applies: complete objects.
		if body, err = yaml.YAMLToJSON(body); err != nil {
			return nil, err
		}
		fallthrough
	default:
		if old == nil {
			original = []byte("{}")
		}
		if result, err = jsonpatch.MergePatch(original, body); err != nil {
			return nil, err
		}
	}
	var object Object
	err = json.Unmarshal(result, &object)
	return object, err
}

// plainJSON converts protobuf, which typed clients prefer, to JSON.
func plainJSON(r *http.Request, body []byte) ([]byte, error) {
	if len(body) == 0 || !strings.Contains(r.Header.Get("Content-Type"), "protobuf") {
		return body, nil
	}
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return nil, err
	}
	return json.Marshal(object)
}

func namespace(name string) Object {
	return Object{"apiVersion": "v1", "kind": "Namespace", "metadata": Object{"name": name}}
}

func node(name string) Object {
	return Object{"apiVersion": "v1", "kind": "Node", "metadata": Object{"name": name},
		"status": Object{"conditions": []any{Object{"type": "Ready", "status": "True"}}}}
}

func table(node Object, path ...string) Object {
	for _, field := range path {
		next, ok := node[field].(map[string]any)
		if !ok {
			return nil
		}
		node = next
	}
	return node
}

func nested(node Object, path ...string) string {
	value, _ := table(node, path[:len(path)-1]...)[path[len(path)-1]].(string)
	return value
}

func meta(object Object, field string) string { return nested(object, "metadata", field) }

func setMeta(object Object, field string, value any) {
	metadata := table(object, "metadata")
	if metadata == nil {
		metadata = Object{}
		object["metadata"] = metadata
	}
	metadata[field] = value
}

func objectLabels(object Object) map[string]string {
	out := map[string]string{}
	for key, value := range table(object, "metadata", "labels") {
		out[key], _ = value.(string)
	}
	return out
}
