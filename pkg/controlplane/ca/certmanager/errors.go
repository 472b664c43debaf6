package certmanager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reason says in one word why a request yielded no leaf.
type Reason string

// The reasons.
const (
	// Denied: an approver denied it. A retry has the same outcome until the approver's policy changes.
	Denied Reason = "denied"
	// Failed: the issuer tried to sign and gave up.
	Failed Reason = "failed"
	// Invalid: the issuer considers the request invalid.
	Invalid Reason = "invalid"
	// Unanswered: there was no decision before the timeout.
	Unanswered Reason = "unanswered"
	// Deleted: someone else deleted it first.
	Deleted Reason = "deleted"
	// Refused: the API server did not let it be created or watched.
	Refused Reason = "refused"
	// Unusable: the issuer's certificate is not the requested one.
	Unusable Reason = "unusable"

	issued  Reason = "issued"
	pending Reason = "pending"
)

// RequestError says why a request yielded no leaf and how to fix it. The request itself is already deleted,
// so everything it said is here.
type RequestError struct {
	Reason Reason
	// Request is namespace/name; Issuer is the issuer's name for messages.
	Request, Issuer string
	// Detail says what happened; Fix says how to fix it, unless Detail ends with that.
	Detail, Fix string
	// Err is the cause, if any: the end of a context, or the API server's error.
	Err error
}

func (e *RequestError) Error() string {
	text := fmt.Sprintf("CertificateRequest %s to %s %s: %s", e.Request, e.Issuer, e.Reason.predicate(), strings.TrimRight(e.Detail, ": ."))
	if e.Fix == "" {
		return text
	}
	return text + ": " + e.Fix
}

// predicate continues a sentence about a request.
func (r Reason) predicate() string {
	switch r {
	case Failed:
		return "failed"
	case Invalid:
		return "was rejected as invalid"
	case Unanswered:
		return "timed out"
	case Refused:
		return "was refused by the API server"
	case Unusable:
		return "got an unusable certificate"
	}
	return "was " + string(r)
}

// Unwrap returns the cause.
func (e *RequestError) Unwrap() error { return e.Err }

func (a *Authority) requestError(reason Reason, name, detail, fix string, cause error) error {
	return &RequestError{
		Reason: reason, Request: a.cfg.Namespace + "/" + name, Issuer: a.cfg.Issuer.String(),
		Detail: detail, Fix: fix, Err: cause,
	}
}

// failed returns the error of a request whose outcome is not a certificate.
func (a *Authority) failed(state request, reason Reason, why condition) error {
	var fix string
	switch reason {
	case Denied:
		fix = fmt.Sprintf("let the cluster's approval policy allow requests of the control plane's ServiceAccount in namespace %s with names below spiffe://%s/ and usages of TLS servers and clients",
			a.cfg.Namespace, a.cfg.TrustDomain)
	case Invalid:
		fix = "use an issuer that signs key usages and URI names as requested, such as one of type CA"
	case Deleted:
		fix = "it will be retried; find out what deletes CertificateRequests in namespace " + a.cfg.Namespace
	default:
		fix = "fix the issuer, or use one that can sign for a mesh: types SelfSigned and ACME cannot"
	}
	if strings.EqualFold(why.Reason, string(reason)) {
		why.Reason = "" // already said
	}
	return a.requestError(reason, state.name, why.text(), fix, nil)
}

// unusable returns the error of a request whose certificate is not the requested one. err says how to fix it.
func (a *Authority) unusable(name string, err error) error {
	return a.requestError(Unusable, name, err.Error(), "", err)
}

// refused returns the error of a request that the API server did not accept.
func (a *Authority) refused(verb, name string, err error) error {
	fix := "it will be retried; check the API server and its admission webhooks"
	switch {
	case isRBAC(err):
		fix = fmt.Sprintf("let the control plane's ServiceAccount create, get, list, watch and delete certificaterequests.%s in namespace %s", Group, a.cfg.Namespace)
	case apierrors.IsNotFound(err) && missingNamespace(err):
		fix = "create namespace " + a.cfg.Namespace
	case apierrors.IsNotFound(err):
		fix = "install cert-manager: its CustomResourceDefinitions are missing"
	}
	return a.requestError(Refused, name, verb+": "+err.Error(), fix, err)
}

// isRBAC reports whether RBAC forbids it. Admission forbids too, but with another message.
func isRBAC(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot ") && strings.Contains(err.Error(), " resource ")
}

func missingNamespace(err error) bool {
	status := apierrors.APIStatus(nil)
	return errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Kind == "namespaces"
}

// unanswered returns the error of a request without an outcome when ctx ended. trouble is why it was not
// being watched at that time.
func (a *Authority) unanswered(ctx context.Context, state request, trouble error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return a.abandoned(ctx, state.name)
	}
	ready := state.status.Conditions.of("Ready")
	detail, fix := a.diagnose(ctx, state)
	switch {
	case trouble != nil:
		detail, fix = "it could not be watched: "+trouble.Error(), "check the API server"
	case ready.Message != "":
		detail = fmt.Sprintf("%s (%s)", detail, ready.text())
	}
	return a.requestError(Unanswered, state.name, detail, fix, context.Cause(ctx))
}

// abandoned returns the error of a request whose caller has given up, without a diagnosis.
func (a *Authority) abandoned(ctx context.Context, name string) error {
	return fmt.Errorf("wait for CertificateRequest %s/%s: %w", a.cfg.Namespace, name, context.Cause(ctx))
}

// diagnose says why there is no outcome, as far as the issuer's status shows.
func (a *Authority) diagnose(ctx context.Context, state request) (detail, fix string) {
	switch health := a.issuerHealth(ctx); {
	case health.missing:
		return a.cfg.Issuer.String() + " does not exist" + a.where(), "create it, or install the mesh with the right name"
	case health.problem != "":
		return a.cfg.Issuer.String() + " is not ready" + a.where() + ": " + health.problem, "fix the issuer; if it has no status, start cert-manager"
	case state.status.Conditions.isTrue("Approved"):
		return fmt.Sprintf("it was approved but not signed before the timeout (at most %v)", a.cfg.Timeout),
			fmt.Sprintf("check that the controller that signs for %s in group %s is running", a.cfg.Issuer.Kind, a.cfg.Issuer.Group)
	}
	return fmt.Sprintf("it was neither approved nor denied before the timeout (at most %v)", a.cfg.Timeout),
		"check that cert-manager is running, and that its approver or an approval policy covers this issuer"
}

func (a *Authority) where() string {
	if a.cfg.Issuer.Kind == KindClusterIssuer {
		return ""
	}
	return " in namespace " + a.cfg.Namespace
}

// issuerHealth is the problem that an issuer's status shows; empty if it is healthy or cannot be read.
type issuerHealth struct {
	missing bool
	problem string
}

// diagnoseTimeout bounds the reads that only make a message better.
const diagnoseTimeout = 3 * time.Second

func (a *Authority) issuerHealth(ctx context.Context) issuerHealth {
	if a.issuers == nil {
		return issuerHealth{}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), diagnoseTimeout)
	defer cancel()
	object, err := a.issuers.Get(ctx, a.cfg.Issuer.Name, metav1.GetOptions{})
	if err != nil {
		return issuerHealth{missing: apierrors.IsNotFound(err)}
	}
	issuer, err := readStatus(object)
	if err != nil || issuer.Conditions.isTrue("Ready") {
		return issuerHealth{}
	}
	return issuerHealth{problem: cmp.Or(issuer.Conditions.of("Ready").text(), "it has no status")}
}
