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

// Reason says in a word why a request brought no leaf.
type Reason string

// The reasons.
const (
	// Denied: an approver said no. Asking again gives the same answer until its policy changes.
	Denied Reason = "denied"
	// Failed: the issuer tried to sign and gave up.
	Failed Reason = "failed"
	// Invalid: the issuer calls the request itself wrong.
	Invalid Reason = "invalid"
	// Unanswered: nobody decided within the time limit.
	Unanswered Reason = "unanswered"
	// Deleted: somebody else deleted it first.
	Deleted Reason = "deleted"
	// Refused: the API server did not let it be made or watched.
	Refused Reason = "refused"
	// Unusable: what the issuer answered is not what was asked for.
	Unusable Reason = "unusable"

	issued  Reason = "issued"
	pending Reason = "pending"
)

// RequestError says why a request brought no leaf and what to do. The request itself is deleted by
// then, so all that it said is here.
type RequestError struct {
	Reason Reason
	// Request is namespace/name; Issuer is how messages name the issuer.
	Request, Issuer string
	// Detail is what was said about it, Fix what to do unless Detail ends with that.
	Detail, Fix string
	// Err is the cause, if there is one besides: the end of a context, or the API server's error.
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
		return "is called invalid"
	case Unanswered:
		return "was not answered"
	case Refused:
		return "was not let in"
	case Unusable:
		return "got an answer of no use"
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

// failed is for a request with an outcome that is not a certificate.
func (a *Authority) failed(state request, reason Reason, why condition) error {
	var fix string
	switch reason {
	case Denied:
		fix = fmt.Sprintf("let the cluster's approval policy allow requests of the control plane's ServiceAccount in namespace %s with names below spiffe://%s/ and usages of TLS servers and clients",
			a.cfg.Namespace, a.cfg.TrustDomain)
	case Invalid:
		fix = "use an issuer that signs key usages and URI names as requested, such as one of type CA"
	case Deleted:
		fix = "it will be asked again; see who deletes CertificateRequests in namespace " + a.cfg.Namespace
	default:
		fix = "fix the issuer, or use one that can sign for a mesh: types SelfSigned and ACME cannot"
	}
	if strings.EqualFold(why.Reason, string(reason)) {
		why.Reason = "" // said already
	}
	return a.requestError(reason, state.name, why.text(), fix, nil)
}

// unusable is for an answer that is not what was asked for. The error says what to do.
func (a *Authority) unusable(name string, err error) error {
	return a.requestError(Unusable, name, err.Error(), "", err)
}

// refused is for a request that the API server did not take.
func (a *Authority) refused(verb, name string, err error) error {
	fix := "it will be asked again; see to the API server and its admission webhooks"
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

// isRBAC says whether the user may not do it at all. Admission forbids too, but in other words.
func isRBAC(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot ") && strings.Contains(err.Error(), " resource ")
}

func missingNamespace(err error) bool {
	status := apierrors.APIStatus(nil)
	return errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Kind == "namespaces"
}

// unanswered is for a request that has no outcome when ctx has ended. Trouble is why it was not
// being watched at that time.
func (a *Authority) unanswered(ctx context.Context, state request, trouble error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return a.abandoned(ctx, state.name)
	}
	ready := state.status.Conditions.of("Ready")
	detail, fix := a.diagnose(ctx, state)
	switch {
	case trouble != nil:
		detail, fix = "it could not be watched: "+trouble.Error(), "see to the API server"
	case ready.Message != "":
		detail = fmt.Sprintf("%s (%s)", detail, ready.text())
	}
	return a.requestError(Unanswered, state.name, detail, fix, context.Cause(ctx))
}

// abandoned is for a request whose caller left: nobody needs an explanation.
func (a *Authority) abandoned(ctx context.Context, name string) error {
	return fmt.Errorf("wait for CertificateRequest %s/%s: %w", a.cfg.Namespace, name, context.Cause(ctx))
}

// diagnose says why nobody answers, as far as the issuer itself shows it.
func (a *Authority) diagnose(ctx context.Context, state request) (detail, fix string) {
	switch health := a.issuerHealth(ctx); {
	case health.missing:
		return a.cfg.Issuer.String() + " does not exist" + a.where(), "create it, or name the right one when installing"
	case health.problem != "":
		return a.cfg.Issuer.String() + " is not ready" + a.where() + ": " + health.problem, "fix the issuer, or start cert-manager if it has no status at all"
	case state.status.Conditions.isTrue("Approved"):
		return fmt.Sprintf("it was approved but not signed in time (%v at most)", a.cfg.Timeout),
			fmt.Sprintf("see whether the controller that signs for %s in group %s runs", a.cfg.Issuer.Kind, a.cfg.Issuer.Group)
	}
	return fmt.Sprintf("nobody approved or denied it in time (%v at most)", a.cfg.Timeout),
		"see whether cert-manager runs, and whether its approver or an approval policy covers this issuer"
}

func (a *Authority) where() string {
	if a.cfg.Issuer.Kind == KindClusterIssuer {
		return ""
	}
	return " in namespace " + a.cfg.Namespace
}

// issuerHealth is what an issuer says about itself; empty when it is well or cannot be read.
type issuerHealth struct {
	missing bool
	problem string
}

// diagnoseTimeout bounds what is read for the sake of a better message.
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
