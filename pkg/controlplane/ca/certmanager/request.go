package certmanager

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

// The label and the annotation of requests.
const (
	// LabelRequest marks a request as a mesh's own; the value is the mesh's name. Other requests in the
	// namespace, such as those of a Certificate, are never touched.
	LabelRequest = "openservicemesh.io/certificate-request"
	// AnnotationIdentity tells users which identity a request is for, since its name does not.
	AnnotationIdentity = "openservicemesh.io/identity"
)

// A broken watch is reopened after a pause that doubles between these two.
const (
	pauseFirst = 100 * time.Millisecond
	pauseLast  = 2 * time.Second
)

// object returns the CertificateRequest for a signing request. Its name is a digest of the content: each key
// is used once, so no two requests share a name, and a create that is sent twice creates one object. The name
// does not contain the identity, which may be too long.
func (a *Authority) object(req ca.Request, csr []byte, ttl time.Duration) *unstructured.Unstructured {
	digest := sha256.New()
	fmt.Fprintf(digest, "%s\n%s\n%s\n%s", a.cfg.Mesh, req.Identity, req.Usage, csr)
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": Group + "/v1",
		"kind":       "CertificateRequest",
		"metadata": map[string]any{
			"namespace":   a.cfg.Namespace,
			"name":        "osm-" + hex.EncodeToString(digest.Sum(nil))[:20],
			"labels":      map[string]any{api.LabelName: api.NameValue, api.LabelInstance: a.cfg.Mesh, LabelRequest: a.cfg.Mesh},
			"annotations": map[string]any{AnnotationIdentity: req.Identity.String()},
		},
		"spec": map[string]any{
			"request":   base64.StdEncoding.EncodeToString(csr),
			"duration":  ttl.String(),
			"isCA":      false,
			"usages":    usages(req),
			"issuerRef": map[string]any{"name": a.cfg.Issuer.Name, "kind": a.cfg.Issuer.Kind, "group": a.cfg.Issuer.Group},
		},
	}}
}

// usages returns a leaf's key usages as cert-manager spells them, the same that ca.Issuer signs.
func usages(req ca.Request) []any {
	list := []any{"digital signature"}
	if req.KeyBits != 0 {
		list = append(list, "key encipherment") // RSA key exchange of TLS 1.2
	}
	if req.Usage != ca.UsageProxy {
		list = append(list, "server auth")
	}
	if req.Usage != ca.UsageServing {
		list = append(list, "client auth")
	}
	return list
}

// request is the part of a CertificateRequest that is read.
type request struct {
	name, version string
	status        status
	deleted       bool // by someone else, while we waited
}

// status is the part of the status of a request or an issuer that is read; issuers only have conditions.
type status struct {
	Conditions  conditions `json:"conditions"`
	Certificate []byte     `json:"certificate"`
	CA          []byte     `json:"ca"`
}

// conditions are the conditions of a request or an issuer.
type conditions []condition

type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// of returns the condition of a type; it is empty if there is none.
func (c conditions) of(kind string) condition {
	for _, one := range c {
		if one.Type == kind {
			return one
		}
	}
	return condition{}
}

// isTrue reports whether the condition of a type is True.
func (c conditions) isTrue(kind string) bool { return c.of(kind).Status == "True" }

// text returns a condition's reason and message, as far as it has them.
func (c condition) text() string { return strings.Trim(c.Reason+": "+c.Message, ": ") }

func read(object runtime.Object) (request, error) {
	u, ok := object.(*unstructured.Unstructured)
	if !ok {
		return request{}, fmt.Errorf("read CertificateRequest: got a %T", object)
	}
	status, err := readStatus(u)
	if err != nil {
		return request{}, fmt.Errorf("read CertificateRequest %s/%s: %w", u.GetNamespace(), u.GetName(), err)
	}
	return request{name: u.GetName(), version: u.GetResourceVersion(), status: status}, nil
}

// readStatus returns the status of an object; it is empty if the object has none yet.
func readStatus(object *unstructured.Unstructured) (status, error) {
	var s status
	content, found := object.Object["status"]
	if !found {
		return s, nil
	}
	fields, ok := content.(map[string]any)
	if !ok {
		return s, fmt.Errorf("its status is a %T", content)
	}
	return s, runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &s)
}

// outcome returns the state of a request, with the condition that says so. A denial counts even if there is
// a certificate: a late denial is still a denial.
func (r request) outcome() (Reason, condition) {
	all := r.status.Conditions
	ready := all.of("Ready")
	switch {
	case all.isTrue("Denied"):
		return Denied, all.of("Denied")
	case ready.Status == "False" && ready.Reason == "Denied":
		return Denied, ready
	case all.isTrue("InvalidRequest"):
		return Invalid, all.of("InvalidRequest")
	case ready.Status == "False" && ready.Reason == "Failed":
		return Failed, ready
	case ready.Status == "True" && len(r.status.Certificate) == 0:
		return Failed, condition{Reason: ready.Reason, Message: "it is Ready but holds no certificate"}
	case ready.Status == "True":
		return issued, ready
	case r.deleted:
		return Deleted, condition{Message: "it was deleted before it was signed"}
	}
	return pending, ready
}

// submit creates a request, follows it to its end and deletes it.
func (a *Authority) submit(ctx context.Context, object *unstructured.Unstructured) (request, error) {
	name := object.GetName()
	created, err := a.requests.Create(ctx, object, metav1.CreateOptions{})
	if !undone(err) {
		defer a.remove(ctx, name)
	}
	if apierrors.IsAlreadyExists(err) { // only our own first attempt can have created it: see object
		created, err = a.requests.Get(ctx, name, metav1.GetOptions{})
	}
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return request{}, a.abandoned(ctx, name)
	case err != nil:
		return request{}, a.refused("create", name, err)
	}
	state, err := read(created)
	if err != nil {
		return request{}, err
	}
	return a.await(ctx, state)
}

// undone reports whether a failed create certainly created nothing; it is false if there is no error.
func undone(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsNotFound(err) ||
		apierrors.IsBadRequest(err) || apierrors.IsUnauthorized(err) || apierrors.IsTooManyRequests(err)
}

// await follows a request until it has an outcome or ctx ends. Each request has its own watch, which starts
// where create ended: it misses nothing, needs no sync first, and has no cache that is stale after an
// outage. It costs one short request more than a shared watch.
func (a *Authority) await(ctx context.Context, state request) (request, error) {
	for pause := pauseFirst; ; pause = min(2*pause, pauseLast) {
		err := a.follow(ctx, &state)
		switch reason, why := state.outcome(); {
		case reason == issued:
			return state, nil
		case reason != pending:
			return state, a.failed(state, reason, why)
		case ctx.Err() != nil:
			return state, a.unanswered(ctx, state, err)
		case apierrors.IsForbidden(err):
			return state, a.refused("watch", state.name, err)
		}
		if !sleep(ctx, pause) {
			return state, a.unanswered(ctx, state, err)
		}
		a.refresh(ctx, &state)
	}
}

// follow watches a request until it has an outcome, the watch breaks or ctx ends.
func (a *Authority) follow(ctx context.Context, state *request) error {
	if reason, _ := state.outcome(); reason != pending {
		return nil
	}
	watcher, err := a.requests.Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector(metav1.ObjectNameField, state.name).String(),
		ResourceVersion: state.version,
	})
	if err != nil {
		return err
	}
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, open := <-watcher.ResultChan():
			if !open {
				return nil
			}
			if err := state.apply(event); err != nil {
				return err
			}
			if reason, _ := state.outcome(); reason != pending {
				return nil
			}
		}
	}
}

// apply updates the state with an event.
func (r *request) apply(event watch.Event) error {
	switch event.Type {
	case watch.Added, watch.Modified, watch.Deleted:
		next, err := read(event.Object)
		if err != nil {
			return err
		}
		*r = next
		r.deleted = event.Type == watch.Deleted
	case watch.Error: // mostly because the last version seen is too old to resume from
		return apierrors.FromObject(event.Object)
	}
	return nil
}

// refresh reads what changed while there was no watch. It ignores errors: the watch that follows fails as well.
func (a *Authority) refresh(ctx context.Context, state *request) {
	object, err := a.requests.Get(ctx, state.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		state.deleted = true
		return
	}
	if err != nil {
		return
	}
	if next, err := read(object); err == nil {
		*state = next
	}
}

// sleep waits, and reports whether ctx is still active afterwards.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
