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
	// rootWarning is how long before a root expires its replacement should be planned.
	rootWarning = 30 * 24 * time.Hour
	// leaseSilence is how long ago the Lease may have been renewed. The leader renews it every two
	// seconds, but the clock of this machine may differ from the cluster's.
	leaseSilence = time.Minute
	// longDeaf is how long a controller may hear nothing from the API server before that is a failure: no new
	// endpoint reaches its proxies meanwhile.
	longDeaf = 30 * time.Second
)

// meshHA evaluates a mesh as a whole.
type meshHA struct {
	cluster.Availability
	target time.Duration
}

// replicas are the ready replicas of a component, or of all components if app is "".
func (h meshHA) replicas(app string) []cluster.Replica {
	var all []cluster.Replica
	for _, c := range h.Components {
		if app == "" || c.App == app {
			all = append(all, c.Replicas...)
		}
	}
	return all
}

// unanswered returns the replicas that did not respond.
func unanswered(replicas []cluster.Replica) (pods []string, reasons []error) {
	for _, r := range replicas {
		if r.Err != nil {
			pods = append(pods, r.Pod)
			reasons = append(reasons, r.Err)
		}
	}
	return pods, reasons
}

// complete returns an error unless the component has replicas and all of them responded.
func (h meshHA) complete(app string) error {
	replicas := h.replicas(app)
	if len(replicas) == 0 {
		return Consequence(errors.New("no replica is ready"), componentID(app, Replicas))
	}
	if pods, _ := unanswered(replicas); len(pods) > 0 {
		return Consequence(fmt.Errorf("%s does not answer", strings.Join(pods, " and ")), Metrics)
	}
	return nil
}

// silence returns the checks that explain why no replica at all tells anything; none if one does.
func (h meshHA) silence() []string {
	var causes []string
	for _, c := range h.Components {
		switch pods, _ := unanswered(c.Replicas); {
		case len(c.Replicas) == 0:
			causes = append(causes, componentID(c.App, Replicas))
		case len(pods) == len(c.Replicas):
			causes = append(causes, Metrics)
		default:
			return nil
		}
	}
	return causes
}

func (h meshHA) metrics() (string, error) {
	var faults, absent []error
	var without []string // the checks of the components without a ready replica
	for _, c := range h.Components {
		_, reasons := unanswered(c.Replicas)
		faults = append(faults, reasons...)
		if len(c.Replicas) > 0 {
			continue
		}
		without = append(without, componentID(c.App, Replicas))
		if c.Pods.Err != nil {
			absent = append(absent, c.Pods.Err)
		} else {
			absent = append(absent, fmt.Errorf("%s has no ready replica", c.App))
		}
	}
	if err := errors.Join(append(faults, absent...)...); err != nil {
		err = errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
		if len(faults) == 0 {
			err = Consequence(err, without...)
		}
		return "", err
	}
	return fmt.Sprintf("%d replicas answer", len(h.replicas(""))), nil
}

// sameRoot compares the CAs that the replicas sign with. During a rotation they may differ
// briefly, which does no harm as long as each replica trusts all of them.
func (h meshHA) sameRoot() (string, error) {
	holders, none := h.roots()
	var parts []string
	for _, root := range slices.Sorted(maps.Keys(holders)) {
		parts = append(parts, cluster.ShortRoot(root)+" on "+strings.Join(holders[root], ", "))
	}
	state := strings.Join(parts, "; ")
	if len(holders) > 1 && !h.allTrust(holders) {
		return "", fmt.Errorf("the replicas hold different roots, so their proxies reject each other: %s; restart the replicas with the wrong root", state)
	}
	if len(none) > 0 {
		return "", fmt.Errorf("%s reports no root", strings.Join(none, " and "))
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

// roots returns the responding replicas, by the root that they sign with, and those that report none.
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

// allTrust reports whether every responding replica trusts all roots.
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
		return "", Consequence(unknown(errors.New("no replica reports when the root expires")), h.silence()...)
	}
	left := first.Sub(h.Now)
	when := fmt.Sprintf("in %s, at %s", output.Days(left), first.Format(time.RFC3339))
	switch {
	case left <= 0:
		return "", fmt.Errorf("it expired %s ago: nothing can be signed; see docs/certificates.md", output.Days(-left))
	case left < h.target:
		return "", fmt.Errorf("%s: sooner than the mesh must be able to run without a control plane (%s); replace the root, see docs/certificates.md", when, output.Duration(h.target))
	case left < rootWarning:
		return "", Warning(fmt.Errorf("%s: plan its replacement, see docs/certificates.md", when))
	}
	return when, nil
}

// lease evaluates the leader, which writes the proxies' client certificates. Traffic does not depend on
// it, but new ServiceAccounts do and, after half a day, reconnecting proxies.
func (h meshHA) lease() (string, error) {
	if h.Lease.Err != nil {
		return "", unknown(h.Lease.Err)
	}
	found, err := h.leader()
	if err != nil && len(h.component(api.AppController).Ready()) == 0 {
		err = Consequence(err, componentID(api.AppController, Replicas))
	}
	return found, err
}

func (h meshHA) leader() (string, error) {
	lease := h.Lease.Value
	if lease == nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return "", fmt.Errorf("there is no leader: Lease %s has no holder, so proxies' certificates are not written; see the log of osm-controller", api.ControllerLease)
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
		return "", fmt.Errorf("the leader is %s, which is not a running pod of osm-controller; a running one acquires Lease %s within half a minute", holder, api.ControllerLease)
	}
	if lease.Spec.RenewTime == nil {
		return "", fmt.Errorf("the leader is %s, but it has never renewed Lease %s", holder, api.ControllerLease)
	}
	if silence := h.Now.Sub(lease.Spec.RenewTime.Time); silence > leaseSilence {
		return "", fmt.Errorf("the leader is %s, but it last renewed Lease %s %s ago (by this machine's clock): it hangs, or cannot reach the API server", holder, api.ControllerLease, output.Duration(silence))
	}
	return "the leader is " + holder, nil
}

// apiServer evaluates whether what the controllers serve is up to date.
func (h meshHA) apiServer() (string, error) {
	if err := h.complete(api.AppController); err != nil {
		return "", unknown(err)
	}
	var deaf, silent []string
	longest := time.Duration(0)
	for _, r := range h.replicas(api.AppController) {
		switch {
		case r.Stale < 0:
			silent = append(silent, r.Pod)
		case r.Stale > 0:
			deaf = append(deaf, fmt.Sprintf("%s for %s", r.Pod, output.Duration(r.Stale)))
			longest = max(longest, r.Stale)
		}
	}
	switch {
	case len(deaf) > 0:
		err := fmt.Errorf("nothing heard from the API server: %s; its proxies keep the configuration that they have; see its log, and osm.networkPolicy.apiServer", strings.Join(deaf, ", "))
		if longest < longDeaf {
			err = Warning(err)
		}
		return "", err
	case len(silent) > 0:
		return "", Skip(fmt.Errorf("%s does not report it", strings.Join(silent, " and ")))
	}
	return fmt.Sprintf("%d controllers hear from it", len(h.replicas(api.AppController))), nil
}

func (h meshHA) component(app string) cluster.Component {
	for _, c := range h.Components {
		if c.App == app {
			return c
		}
	}
	return cluster.Component{App: app}
}
