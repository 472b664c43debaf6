package check

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/output"
)

const (
	// rootWarning is how long before a root's end one should begin to think of a new one.
	rootWarning = 30 * 24 * time.Hour
	// leaseSilence is how long the Lease's holder may be silent, by this machine's clock, which may
	// differ from the cluster's. It renews every two seconds.
	leaseSilence = time.Minute
)

// meshHA judges a mesh as a whole.
type meshHA struct {
	cluster.Availability
	target time.Duration
}

// replicas are those of the given component, or of all; only ready ones are asked.
func (h meshHA) replicas(app string) []cluster.Replica {
	var all []cluster.Replica
	for _, c := range h.Components {
		if app == "" || c.App == app {
			all = append(all, c.Replicas...)
		}
	}
	return all
}

// silent are the replicas that could not be asked.
func silent(replicas []cluster.Replica) (pods []string, reasons []error) {
	for _, r := range replicas {
		if r.Err != nil {
			pods = append(pods, r.Pod)
			reasons = append(reasons, r.Err)
		}
	}
	return pods, reasons
}

// complete is an error unless every replica of the component could be asked, and there is one.
func (h meshHA) complete(app string) error {
	replicas := h.replicas(app)
	if len(replicas) == 0 {
		return errors.New("no replica is ready")
	}
	if pods, _ := silent(replicas); len(pods) > 0 {
		return fmt.Errorf("%s does not answer", strings.Join(pods, " and "))
	}
	return nil
}

func (h meshHA) metrics() (string, error) {
	var faults []error
	for _, c := range h.Components {
		switch _, reasons := silent(c.Replicas); {
		case c.Pods.Err != nil:
			faults = append(faults, c.Pods.Err)
		case len(c.Replicas) == 0:
			faults = append(faults, fmt.Errorf("%s has no ready replica", c.App))
		default:
			faults = append(faults, reasons...)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return "", errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return fmt.Sprintf("%d replicas answer", len(h.replicas(""))), nil
}

// sameRoot compares the CAs that the replicas sign with. While the root is being replaced they may
// differ for a moment; that hurts nobody if each replica trusts what the others sign.
func (h meshHA) sameRoot() (string, error) {
	holders, none := h.roots()
	var parts []string
	for _, root := range slices.Sorted(maps.Keys(holders)) {
		parts = append(parts, cluster.ShortRoot(root)+" on "+strings.Join(holders[root], ", "))
	}
	state := strings.Join(parts, "; ")
	if len(holders) > 1 && !h.allTrust(holders) {
		return "", fmt.Errorf("the replicas hold different roots, and proxies that they serve refuse each other: %s; restart those that hold the wrong one", state)
	}
	if len(none) > 0 {
		return "", fmt.Errorf("%s shows no root", strings.Join(none, " and "))
	}
	for _, app := range []string{api.AppController, api.AppInjector} {
		if err := h.complete(app); err != nil {
			return "", unknown(fmt.Errorf("of %s, %w", app, err))
		}
	}
	if len(holders) > 1 {
		return "", Warning(fmt.Errorf("the root is being replaced: %s; every replica trusts all of them", state))
	}
	return fmt.Sprintf("%s on %d replicas", cluster.ShortRoot(slices.Collect(maps.Keys(holders))[0]), len(h.replicas(""))), nil
}

// roots are the replicas that answer, by the root that they sign with, and those that show none.
func (h meshHA) roots() (holders map[string][]string, none []string) {
	holders = map[string][]string{}
	for _, r := range h.replicas("") {
		switch {
		case r.Err != nil:
		case r.Root == "":
			none = append(none, r.Pod)
		default:
			holders[r.Root] = append(holders[r.Root], r.Pod)
		}
	}
	return holders, none
}

// allTrust says whether every replica that answers trusts all of the roots.
func (h meshHA) allTrust(roots map[string][]string) bool {
	for _, r := range h.replicas("") {
		for root := range roots {
			if r.Err == nil && !r.Trusted[root] {
				return false
			}
		}
	}
	return true
}

func (h meshHA) rootExpiry() (string, error) {
	var first time.Time
	for _, r := range h.replicas("") {
		if r.Err == nil && !r.RootExpiry.IsZero() && (first.IsZero() || r.RootExpiry.Before(first)) {
			first = r.RootExpiry
		}
	}
	if first.IsZero() {
		return "", unknown(errors.New("no replica says when the root expires"))
	}
	left := first.Sub(h.Now)
	when := fmt.Sprintf("in %s, at %s", output.Days(left), first.Format(time.RFC3339))
	switch {
	case left <= 0:
		return "", fmt.Errorf("it expired %s ago: nothing can be signed; see docs/certificates.md", output.Days(-left))
	case left < h.target:
		return "", fmt.Errorf("%s: before the time is over that the mesh should do without a control plane (%s); replace the root, see docs/certificates.md", when, output.Duration(h.target))
	case left < rootWarning:
		return "", Warning(fmt.Errorf("%s: plan its replacement, see docs/certificates.md", when))
	}
	return when, nil
}

// lease judges who writes the proxies' client certificates. Traffic does not depend on it; new
// ServiceAccounts and, after half a day, reconnecting proxies do.
func (h meshHA) lease() (string, error) {
	if h.Lease.Err != nil {
		return "", unknown(h.Lease.Err)
	}
	lease := h.Lease.Value
	if lease == nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return "", fmt.Errorf("nobody holds Lease %s: nobody writes proxies' certificates; look at the log of osm-controller", api.ControllerLease)
	}
	holder := *lease.Spec.HolderIdentity
	controller := h.component(api.AppController)
	if controller.Pods.Err != nil {
		return "", unknown(controller.Pods.Err)
	}
	alive := slices.ContainsFunc(controller.Pods.Value, func(pod corev1.Pod) bool {
		return pod.Name == holder && pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil
	})
	if !alive {
		return "", fmt.Errorf("held by %s, which is no running pod of osm-controller; another one takes Lease %s within half a minute, if one lives", holder, api.ControllerLease)
	}
	if lease.Spec.RenewTime == nil {
		return "", fmt.Errorf("%s holds Lease %s and has never renewed it", holder, api.ControllerLease)
	}
	if silence := h.Now.Sub(lease.Spec.RenewTime.Time); silence > leaseSilence {
		return "", fmt.Errorf("%s holds Lease %s, but last renewed it %s ago (by this machine's clock): it hangs, or cannot reach the API server", holder, api.ControllerLease, output.Duration(silence))
	}
	return "held by " + holder, nil
}

func (h meshHA) component(app string) cluster.Component {
	for _, c := range h.Components {
		if c.App == app {
			return c
		}
	}
	return cluster.Component{App: app}
}
