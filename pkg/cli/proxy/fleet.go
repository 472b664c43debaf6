package proxy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api/debug"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/output"
)

// answerTime is how long a proxy may take to answer what it was sent before it counts as stale. A healthy one takes
// milliseconds, and seconds for a first configuration on a busy node.
const answerTime = 10 * time.Second

// State is whether a proxy, or its resources of one type, are as its controller wants them.
type State string

// The states, from good to bad.
const (
	Synced       State = "SYNCED"       // it holds what its controller wants
	Starting     State = "STARTING"     // its pod is starting, and no controller knows it yet
	Stale        State = "STALE"        // it has not answered what it was sent
	Refused      State = "REFUSED"      // it rejected what it was sent, and keeps what it had
	Disconnected State = "DISCONNECTED" // its pod runs, and it is connected to no controller
	Unknown      State = "UNKNOWN"      // a controller that it may be connected to could not be asked
)

// worse returns the worse of two states.
func worse(a, b State) State {
	order := []State{Synced, Starting, Stale, Refused, Disconnected, Unknown}
	if slices.Index(order, b) > slices.Index(order, a) {
		return b
	}
	return a
}

// status is one proxy.
type status struct {
	Pod   string `json:"pod"` // as "namespace/name"
	State State  `json:"state"`
	// Reason is why it is not SYNCED.
	Reason             string       `json:"reason,omitempty"`
	Replica            string       `json:"replica,omitempty"`
	ConnectedSince     *time.Time   `json:"connectedSince,omitempty"`
	CertificateExpires *time.Time   `json:"certificateExpires,omitempty"`
	ProxyVersion       string       `json:"proxyVersion,omitempty"`
	Types              []typeStatus `json:"types,omitempty"`

	wrong bool // something is to be done
}

// typeStatus is what a proxy holds of one type of resource.
type typeStatus struct {
	Type      string            `json:"type"`
	State     State             `json:"state"`
	Version   string            `json:"version"` // digest of what its controller wants
	LastPush  *time.Time        `json:"lastPush,omitempty"`
	Rejected  []debug.Rejection `json:"rejected,omitempty"`
	Resources int               `json:"names,omitempty"` // subscribed to by name
}

// fleet is what the cluster and the controllers say about the proxies.
type fleet struct {
	now time.Time
	// before and after are the pods with a sidecar, read before and after the controllers were asked.
	before, after []corev1.Pod
	controllers   []cluster.DebugPage[debug.XDS]
}

// statuses returns the state of each proxy whose pod the filter accepts, sorted by pod.
func (f fleet) statuses(accepts func(namespace, name string) bool) []status {
	var all []status
	streams := f.streams()
	connecting, still := cluster.Connecting(f.before), cluster.Connecting(f.after)
	hanging := map[string]cluster.Starting{}
	for _, starting := range cluster.Hanging(f.after, f.now) {
		hanging[starting.Pod] = starting
	}
	for i := range f.after {
		pod := &f.after[i]
		name := pod.Namespace + "/" + pod.Name
		stream, connected := streams[name]
		delete(streams, name)
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if ended || !accepts(pod.Namespace, pod.Name) {
			continue
		}
		starting, hangs := hanging[name]
		switch {
		case hangs:
			s := status{Pod: name}
			if connected {
				s = f.judge(stream)
			}
			s.State, s.wrong = worse(Starting, s.State), true
			if s.State == Starting {
				s.Reason = fmt.Sprintf("for %s: %s", output.Duration(starting.For), starting.Why)
			}
			all = append(all, s)
		case connected:
			all = append(all, f.judge(stream))
		case pod.Status.Phase == corev1.PodPending && pod.DeletionTimestamp == nil:
			all = append(all, status{Pod: name, State: Starting, Reason: "its pod is starting"})
		case connecting[pod.UID] && still[pod.UID]: // it did not leave, or come just now
			all = append(all, f.absent(name))
		}
	}
	for name, stream := range streams { // of pods that came or went meanwhile
		if namespace, pod, _ := strings.Cut(name, "/"); accepts(namespace, pod) {
			all = append(all, f.judge(stream))
		}
	}
	slices.SortFunc(all, func(a, b status) int { return cmp.Compare(a.Pod, b.Pod) })
	return all
}

// stream is a proxy's stream, and the controller that serves it.
type stream struct {
	debug.Proxy
	replica string
	at      time.Time // when the controller told it
}

// streams returns the newest stream of each pod: a controller that has not noticed yet that a proxy has gone
// still has an old one.
func (f fleet) streams() map[string]stream {
	newest := map[string]stream{}
	for _, controller := range f.controllers {
		for _, p := range controller.Value.Proxies {
			if old, ok := newest[p.Pod]; !ok || p.Since.After(old.Since) {
				newest[p.Pod] = stream{p, controller.Pod, controller.At}
			}
		}
	}
	return newest
}

// lost reports whether a proxy is on no controller's page.
func (s status) lost() bool { return s.State == Disconnected || s.State == Unknown }

// confirm returns the later of two readings. A proxy that changes its controller is on no page for a moment: only one that
// is on none twice is lost.
func confirm(earlier, later []status) []status {
	known := map[string]status{}
	for _, s := range earlier {
		known[s.Pod] = s
	}
	confirmed := slices.Clone(later)
	for i, s := range confirmed {
		if before, ok := known[s.Pod]; s.lost() && ok && !before.lost() {
			confirmed[i] = before
		}
	}
	return confirmed
}

// absent is the state of a pod that runs, and that no controller knows.
func (f fleet) absent(pod string) status {
	var silent []string
	for _, controller := range f.controllers {
		if controller.Err != nil {
			silent = append(silent, controller.Pod)
		}
	}
	switch {
	case len(silent) > 0:
		return status{Pod: pod, State: Unknown, Reason: strings.Join(silent, " and ") + " could not be asked, and no other controller knows it", wrong: true}
	case len(f.controllers) == 0:
		return status{Pod: pod, State: Disconnected, Reason: "no controller is running; it keeps the configuration that it has", wrong: true}
	}
	return status{Pod: pod, State: Disconnected, Reason: "connected to no controller; it keeps the configuration that it has", wrong: true}
}

func (f fleet) judge(s stream) status {
	result := status{
		Pod: s.Pod, State: Synced, Replica: s.replica, ConnectedSince: &s.Since, CertificateExpires: s.CertificateExpires, ProxyVersion: s.ProxyVersion,
	}
	for _, t := range s.Types {
		state, reason := f.judgeType(t, s.at)
		result.Types = append(result.Types, typeStatus{t.Type, state, t.Version, t.LastPush, t.Rejected, t.Names})
		if worst := worse(result.State, state); worst != result.State {
			result.State, result.Reason = worst, reason
		}
	}
	if expires := s.CertificateExpires; expires != nil && !f.now.Before(*expires) {
		result.Reason = strings.TrimPrefix(fmt.Sprintf("%s; its certificate expired %s ago", result.Reason, output.Duration(f.now.Sub(*expires))), "; ")
		result.wrong = true
	}
	result.wrong = result.wrong || result.State != Synced
	return result
}

// judgeType judges what a controller told at a time.
func (f fleet) judgeType(t debug.Type, at time.Time) (state State, reason string) {
	switch {
	case len(t.Rejected) > 0:
		r := t.Rejected[len(t.Rejected)-1]
		what := strings.Join(r.Resources[:min(3, len(r.Resources))], ", ")
		if more := r.Count - min(3, len(r.Resources)); more > 0 {
			what += fmt.Sprintf(" and %d more", more)
		}
		return Refused, fmt.Sprintf("%s %s, %d time(s), the last %s ago: %s", t.Type, what, r.Times, f.since(r.At), r.Message)
	case t.Awaiting && t.LastPush != nil && at.Sub(*t.LastPush) >= answerTime:
		return Stale, fmt.Sprintf("%s sent %s ago and not answered", t.Type, f.since(*t.LastPush))
	}
	return Synced, ""
}

// since is how long ago something was, by this machine's clock; a controller's may be ahead of it.
func (f fleet) since(at time.Time) string { return output.Duration(max(0, f.now.Sub(at))) }
