package check

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/output"
)

// webhook evaluates whether new pods can get their sidecar.
func (h meshHA) webhook() (string, error) {
	if err := errors.Join(h.Webhook.Err, h.Endpoints.Err); err != nil {
		return "", unknown(err)
	}
	name := api.WebhookConfigName(h.Mesh.Name)
	if h.Webhook.Value == nil {
		return "", fmt.Errorf("there is no MutatingWebhookConfiguration %s: new pods get no sidecar; restore it with osm upgrade %s", name, flags(h.Mesh))
	}
	i := slices.IndexFunc(h.Webhook.Value.Webhooks, func(w admissionregistrationv1.MutatingWebhook) bool { return w.Name == api.WebhookName })
	if i < 0 {
		return "", fmt.Errorf("MutatingWebhookConfiguration %s has no webhook %s: new pods get no sidecar; restore it with osm upgrade %s", name, api.WebhookName, flags(h.Mesh))
	}
	webhook := h.Webhook.Value.Webhooks[i]
	if err := h.trustsInjectors(webhook.ClientConfig.CABundle); err != nil {
		return "", fmt.Errorf("MutatingWebhookConfiguration %s: %w: new pods are rejected or get no sidecar; the leader writes the caBundle every minute, see its log", name, err)
	}
	if h.Endpoints.Value == 0 {
		err := fmt.Errorf("no ready endpoint of Service %s/%s: new pods are rejected or get no sidecar; see kubectl get pods -n %s -l app=%s",
			h.Mesh.Namespace, api.AppInjector, h.Mesh.Namespace, api.AppInjector)
		if len(h.replicas(api.AppInjector)) == 0 {
			err = Consequence(err, componentID(api.AppInjector, Replicas))
		}
		return "", err
	}
	policy := admissionregistrationv1.Fail
	if webhook.FailurePolicy != nil {
		policy = *webhook.FailurePolicy
	}
	return fmt.Sprintf("caBundle present, %d ready endpoint(s), failure policy %s", h.Endpoints.Value, policy), nil
}

// trustsInjectors returns an error if the API server cannot trust the injectors with this bundle.
func (h meshHA) trustsInjectors(bundle []byte) error {
	if len(bundle) == 0 {
		return errors.New("its caBundle is empty")
	}
	trusted := map[string]bool{}
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("its caBundle contains an invalid certificate: %w", err)
		}
		sum := sha256.Sum256(cert.Raw)
		trusted[hex.EncodeToString(sum[:])] = h.Now.Before(cert.NotAfter)
	}
	if len(trusted) == 0 {
		return errors.New("its caBundle contains no certificate")
	}
	for _, r := range h.replicas(api.AppInjector) {
		valid, there := trusted[r.Root]
		switch {
		case r.Root == "":
		case !there:
			return fmt.Errorf("its caBundle does not contain the root %s of %s", cluster.ShortRoot(r.Root), r.Pod)
		case !valid:
			return fmt.Errorf("the root %s in its caBundle has expired", cluster.ShortRoot(r.Root))
		}
	}
	return nil
}

// connected counts the proxies of all controllers.
func connected(controllers []cluster.Replica) int {
	sum := 0
	for _, r := range controllers {
		sum += max(0, r.Proxies)
	}
	return sum
}

// counted returns an error unless every controller reports how many proxies it has.
func (h meshHA) counted() error {
	if err := h.complete(api.AppController); err != nil {
		return err
	}
	for _, r := range h.replicas(api.AppController) {
		if r.Proxies < 0 {
			return fmt.Errorf("%s does not report how many proxies are connected to it", r.Pod)
		}
	}
	return nil
}

// proxies compares counts only: the metrics do not name the connected proxies, so the missing ones
// cannot be named either.
func (h meshHA) proxies() (string, error) {
	if h.Injected.Err != nil {
		return "", unknown(h.Injected.Err)
	}
	if err := h.counted(); err != nil {
		return "", unknown(err)
	}
	have, want := connected(h.replicas(api.AppController)), h.Injected.Value
	if have < want {
		return "", fmt.Errorf("%d running pods have a sidecar, but only %d proxies are connected: the other %d run until their certificates expire; osm proxy status --mesh-name %s --osm-namespace %s names them",
			want, have, want-have, h.Mesh.Name, h.Mesh.Namespace)
	}
	return fmt.Sprintf("%d connected, %d running pods have a sidecar", have, want), nil
}

// namedPods is how many pods a finding names.
const namedPods = 3

// starting evaluates whether pods hang because of their sidecar. They are not running yet, so proxies does not count them.
// If nothing of a pod has started, a volume or image of its own may be at fault: that is a warning.
func (h meshHA) starting() (string, error) {
	if h.Injected.Err != nil {
		return "", Consequence(unknown(h.Injected.Err), Proxies)
	}
	if len(h.Hanging) == 0 {
		return "none hangs", nil
	}
	first := h.Hanging[0]
	if i := slices.IndexFunc(h.Hanging, func(s cluster.Starting) bool { return !s.Unclear }); i >= 0 {
		first = h.Hanging[i]
	}
	var names []string
	for _, pod := range h.Hanging[:min(namedPods, len(h.Hanging))] {
		names = append(names, pod.Pod)
	}
	if more := len(h.Hanging) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	namespace, name, _ := strings.Cut(first.Pod, "/")
	err := fmt.Errorf("%d pod(s) with a sidecar do not start (%s); %s has waited for %s: %s; see kubectl describe pod %s -n %s",
		len(h.Hanging), strings.Join(names, ", "), first.Pod, output.Duration(first.For), first.Why, name, namespace)
	if first.Unclear {
		err = Warning(err)
	}
	return "", err
}

// balance warns if most proxies would have to reconnect after the loss of one controller.
func (h meshHA) balance() (string, error) {
	if err := h.counted(); err != nil {
		return "", Skip(unknown(err))
	}
	controllers := h.replicas(api.AppController)
	total, n := connected(controllers), len(controllers)
	if total == 0 {
		return "", Skip(errors.New("no proxy is connected"))
	}
	busiest := slices.MaxFunc(controllers, func(a, b cluster.Replica) int { return cmp.Compare(a.Proxies, b.Proxies) })
	idle := slices.ContainsFunc(controllers, func(r cluster.Replica) bool { return r.Proxies == 0 })
	var parts []string
	for _, r := range controllers {
		parts = append(parts, fmt.Sprintf("%s %d", r.Pod, r.Proxies))
	}
	state := fmt.Sprintf("%s; the busiest has %d %%, a fair share is %d %%", strings.Join(parts, ", "), 100*busiest.Proxies/total, 100/n)
	// A small mesh cannot be balanced.
	if total >= 2*n && (idle || busiest.Proxies*n > 2*total) {
		return "", Warning(fmt.Errorf("%s: proxies stay where they are after scaling out; to spread them, run osm mesh rebalance %s", state, flags(h.Mesh)))
	}
	return state, nil
}

// headless evaluates how long proxies have valid certificates without a control plane (HA-14).
func (h meshHA) headless() (string, error) {
	first, err := FirstFailure(h.replicas(api.AppController))
	if err != nil {
		return "", unknown(err)
	}
	if first.At.IsZero() {
		if err := h.counted(); err != nil {
			return "", unknown(err)
		}
		return "", Skip(errors.New("no proxy is connected"))
	}
	left := first.At.Sub(h.Now)
	state := first.forecast(h.Now)
	if left < h.target {
		return "", fmt.Errorf("%s: less than --headless-target %s; extend the lifetime of certificates with osm upgrade %s --headless-budget %s; failed renewals are in the log of osm-controller",
			state, output.Duration(h.target), flags(h.Mesh), output.Compact(h.target))
	}
	if err := h.complete(api.AppController); err != nil {
		return "", unknown(fmt.Errorf("%w; of the others' proxies: %s", err, state))
	}
	return state, nil
}

// Failure is the first mTLS failure that follows the death of the whole control plane.
type Failure struct {
	At      time.Time // zero if no proxy is connected
	Pod     string    // whose certificate expires, as "namespace/name"; "" if unknown
	Replica string    // the controller that serves it
}

// FirstFailure returns the earliest expiry of a certificate over all responding controllers. It is an error
// if a controller has proxies and does not report when their certificates expire.
func FirstFailure(controllers []cluster.Replica) (Failure, error) {
	var first Failure
	for _, r := range controllers {
		switch {
		case r.Err == nil && r.Proxies > 0 && r.First.At.IsZero():
			return Failure{}, fmt.Errorf("%s does not report when its proxies' certificates expire", r.Pod)
		case r.First.At.IsZero():
		case first.At.IsZero() || r.First.At.Before(first.At):
			first = Failure{r.First.At, r.First.Pod, r.Pod}
		}
	}
	return first, nil
}

// forecast returns the result of the check as a sentence.
func (f Failure) forecast(now time.Time) string {
	who := "pod " + f.Pod
	if f.Pod == "" {
		who = "a pod that " + f.Replica + " serves"
	}
	left := f.At.Sub(now)
	if left <= 0 {
		return fmt.Sprintf("the first certificate expired %s ago (%s): mTLS already fails", output.Duration(-left), who)
	}
	return fmt.Sprintf("if the control plane died now, mTLS would first fail in %s (%s)", output.Duration(left), who)
}
