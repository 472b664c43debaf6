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

// Marks on requests.
const (
	// LabelRequest marks a request as a mesh's own; the value is the mesh's name. Others in the
	// namespace, such as those of a Certificate, are never touched.
	LabelRequest = "openservicemesh.io/certificate-request"
	// AnnotationIdentity tells people for whom a request is: its name tells nothing.
	AnnotationIdentity = "openservicemesh.io/identity"
)

// A broken watch is opened again after a pause that doubles between these two.
const (
	pauseFirst = 100 * time.Millisecond
	pauseLast  = 2 * time.Second
)

// object is the CertificateRequest for a signing request. Its name is a digest of the content: a
// key is used once, so no two requests share a name, and a create that went through twice is one
// object. The name never holds an identity's, which may be too long.
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

// usages are a leaf's key usages in cert-manager's words, the same that ca.Issuer signs.
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

// request is what is read of a CertificateRequest.
type request struct {
	name, version string
	status        status
	deleted       bool // by somebody else, while we waited
}

// status is what is read of the status of a request or of an issuer, which has conditions alone.
type status struct {
	Conditions  conditions `json:"conditions"`
	Certificate []byte     `json:"certificate"`
	CA          []byte     `json:"ca"`
}

// conditions are those of a request or of an issuer.
type conditions []condition

type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// of returns the condition of a type; it is empty when there is none.
func (c conditions) of(kind string) condition {
	for _, one := range c {
		if one.Type == kind {
			return one
		}
	}
	return condition{}
}

// isTrue says whether the condition of a type is True.
func (c conditions) isTrue(kind string) bool { return c.of(kind).Status == "True" }

// text is what a condition says, as far as it says anything.
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

// readStatus reads the status of an object; one that has none yet is empty.
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

// outcome is how far a request has got, with the condition that says so. A denial counts even
// beside a certificate: whoever denies late still denies.
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
		return Deleted, condition{Message: "it was gone before it was answered"}
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
	if apierrors.IsAlreadyExists(err) { // only our own first try can have made it: see object
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

// undone says whether a create has certainly made nothing; it is false for no error.
func undone(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsNotFound(err) ||
		apierrors.IsBadRequest(err) || apierrors.IsUnauthorized(err) || apierrors.IsTooManyRequests(err)
}

// await follows a request until it has an outcome or ctx ends. Each request has a watch of its own
// that begins where create ended: nothing is missed, nothing must be in sync first, and after an
// outage there is no cache that is behind. It costs one short request more than a shared watch.
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

// apply brings the state up to date with an event.
func (r *request) apply(event watch.Event) error {
	switch event.Type {
	case watch.Added, watch.Modified, watch.Deleted:
		next, err := read(event.Object)
		if err != nil {
			return err
		}
		*r = next
		r.deleted = event.Type == watch.Deleted
	case watch.Error: // above all: what was seen last is too old to go on from
		return apierrors.FromObject(event.Object)
	}
	return nil
}

// refresh reads what happened while nobody watched. What goes wrong here goes wrong in the watch
// that follows, too.
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

// sleep waits, and says whether ctx lasted as long.
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
