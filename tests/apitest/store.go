package apitest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

// Apply stores objects unchanged.
func (s *Server) Apply(objects ...Object) {
	s.lock.Lock()
	defer s.lock.Unlock()
	for _, object := range objects {
		kind, ok := kindByName(object)
		if !ok {
			panic(fmt.Sprintf("apitest: unknown kind %v %v", object["apiVersion"], object["kind"]))
		}
		s.store(kind, object)
	}
	s.reconcile()
}

// Remove removes the objects of a resource that have a name, and returns how many.
func (s *Server) Remove(resource, name string) int {
	s.lock.Lock()
	defer s.lock.Unlock()
	removed := 0
	for key, object := range s.objects {
		if strings.Contains(key, "/"+resource+"/") && meta(object, "name") == name {
			delete(s.objects, key)
			removed++
		}
	}
	return removed
}

// List returns the stored objects of a resource such as "deployments", sorted by namespace and name.
func (s *Server) List(resource string) []Object {
	s.lock.Lock()
	defer s.lock.Unlock()
	var found []Object
	for _, kind := range kinds {
		if kind.resource == resource {
			found = append(found, s.list(kind, "", "", "")...)
		}
	}
	return found
}

func (s *Server) serveList(w http.ResponseWriter, r request) {
	query := r.URL.Query()
	items := s.list(r.kind, r.namespace, query.Get("labelSelector"), query.Get("fieldSelector"))
	if r.kind.resource == "pods" {
		s.nextReason()
	}
	list := Object{"apiVersion": r.kind.apiVersion(), "kind": r.kind.kind + "List", "metadata": Object{"resourceVersion": "1"}, "items": items}
	if strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadataList") {
		list["apiVersion"], list["kind"] = "meta.k8s.io/v1", "PartialObjectMetadataList"
	}
	answer(w, http.StatusOK, list)
}

func (s *Server) list(k kind, namespace, labelSelector, fieldSelector string) []Object {
	selector, err := labels.Parse(labelSelector)
	if err != nil {
		return nil
	}
	items := []Object{}
	for _, key := range s.keys() {
		object := s.objects[key]
		if !strings.HasPrefix(key, k.prefix()) || (namespace != "" && meta(object, "namespace") != namespace) {
			continue
		}
		_, field, _ := strings.Cut(fieldSelector, "=")
		if fieldSelector != "" && meta(object, "name") != field && nested(object, "involvedObject", "name") != field {
			continue
		}
		if selector.Matches(labels.Set(objectLabels(object))) {
			items = append(items, object)
		}
	}
	return items
}

func (s *Server) serveObject(w http.ResponseWriter, r request) {
	object, ok := s.objects[r.kind.key(r.namespace, r.name)]
	if !ok {
		notFound(w, r.kind.resource, r.name)
		return
	}
	answer(w, http.StatusOK, object)
}

func (s *Server) create(w http.ResponseWriter, r request, body []byte, dry bool) {
	var object Object
	if err := json.Unmarshal(body, &object); err != nil {
		fail(w, http.StatusBadRequest, "BadRequest", err.Error(), "", "")
		return
	}
	name := meta(object, "name")
	if r.namespace != "" {
		if _, ok := s.objects[namespaces.key("", r.namespace)]; !ok {
			notFound(w, "namespaces", r.namespace)
			return
		}
		setMeta(object, "namespace", r.namespace)
	}
	if _, ok := s.objects[r.kind.key(r.namespace, name)]; ok {
		fail(w, http.StatusConflict, "AlreadyExists", fmt.Sprintf("%s %q already exists", r.kind.resource, name), r.kind.resource, name)
		return
	}
	if !dry {
		s.store(r.kind, object)
		s.reconcile()
	}
	answer(w, http.StatusCreated, object)
}

func (s *Server) change(w http.ResponseWriter, r request, body []byte, dry bool) {
	old, exists := s.objects[r.kind.key(r.namespace, r.name)]
	apply := strings.HasPrefix(r.Header.Get("Content-Type"), "application/apply-patch")
	if !exists && !apply {
		notFound(w, r.kind.resource, r.name)
		return
	}
	if r.namespace != "" {
		if _, ok := s.objects[namespaces.key("", r.namespace)]; !ok {
			notFound(w, "namespaces", r.namespace)
			return
		}
	}
	if outdated(old, body, "metadata") {
		conflict(w, r)
		return
	}
	object, err := patched(old, body, r)
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, "Invalid", err.Error(), r.kind.resource, r.name)
		return
	}
	setMeta(object, "name", r.name)
	if r.namespace != "" {
		setMeta(object, "namespace", r.namespace)
	}
	if !dry {
		s.store(r.kind, object)
		s.reconcile()
	}
	answer(w, http.StatusOK, object)
}

func (s *Server) remove(w http.ResponseWriter, r request, body []byte, dry bool) {
	key := r.kind.key(r.namespace, r.name)
	old, ok := s.objects[key]
	if !ok {
		notFound(w, r.kind.resource, r.name)
		return
	}
	if outdated(old, body, "preconditions") {
		conflict(w, r)
		return
	}
	if !dry {
		delete(s.objects, key)
		s.collect(r.kind, r.name)
		s.reconcile()
	}
	answer(w, http.StatusOK, Object{"apiVersion": "v1", "kind": "Status", "status": "Success"})
}

func (s *Server) store(k kind, object Object) {
	s.counter++
	object["apiVersion"], object["kind"] = k.apiVersion(), k.kind
	setMeta(object, "resourceVersion", fmt.Sprint(s.counter))
	if meta(object, "uid") == "" {
		setMeta(object, "uid", fmt.Sprintf("uid-%d", s.counter))
		setMeta(object, "creationTimestamp", time.Unix(0, 0).UTC().Format(time.RFC3339))
	}
	s.objects[k.key(meta(object, "namespace"), meta(object, "name"))] = object
}
