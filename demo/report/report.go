// Package report observes a running demo and shows it on one screen: as text, as JSON and as a
// picture.
//
// It only reads, and only through the API server; it changes nothing and checks nothing except
// whether the demo's promises hold yet. Its invariant: everything that it shows was read from the cluster
// for this screen; facts that could not be read are listed as missing, never filled in.
package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/osm-edge/osm/demo/bookstore"
)

// Report is one observation of the demo. Lists are sorted by name.
type Report struct {
	Time       time.Time   `json:"time"`
	Kubernetes string      `json:"kubernetes"`
	Nodes      []Node      `json:"nodes"`
	Mesh       Mesh        `json:"mesh"`
	Components []Component `json:"components"`
	Apps       []App       `json:"apps"`
}

// Node is a node of the cluster.
type Node struct {
	Name    string `json:"name"`
	Ready   bool   `json:"ready"`
	Address string `json:"address"`
	Version string `json:"version"`
}

// Mesh describes the mesh that was found.
type Mesh struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Version   string `json:"version"`
	// Provider is the kind of certificate provider, as the chart names it: tresor, vault or cert-manager.
	Provider string `json:"provider"`
	// Root is the SHA-256, in hexadecimal, of the CA that a controller reports to sign with; "" if none does.
	Root string `json:"root"`
}

// Component is a Deployment of the control plane with its autoscaler and disruption budget. Autoscaler and
// Budget are nil when there is none.
type Component struct {
	Name       string      `json:"name"`
	Desired    int32       `json:"desired"`
	Replicas   []Replica   `json:"replicas"`
	Autoscaler *Autoscaler `json:"autoscaler,omitempty"`
	Budget     *Budget     `json:"budget,omitempty"`
}

// Ready counts the replicas that are ready.
func (c Component) Ready() int {
	n := 0
	for _, r := range c.Replicas {
		if r.Ready {
			n++
		}
	}
	return n
}

// Replica is a pod of a component.
type Replica struct {
	Pod   string `json:"pod"`
	Node  string `json:"node"`
	Ready bool   `json:"ready"`
}

// Autoscaler is a HorizontalPodAutoscaler.
type Autoscaler struct {
	Name    string      `json:"name"`
	Min     int32       `json:"min"`
	Max     int32       `json:"max"`
	Current int32       `json:"current"`
	CPU     Utilization `json:"cpu"`
	Memory  Utilization `json:"memory"`
}

// Utilization is in percent of what the pods request; nil is unknown.
type Utilization struct {
	Current *int32 `json:"current"`
	Target  *int32 `json:"target"`
}

func (u Utilization) String() string { return percent(u.Current) + "/" + percent(u.Target) }

func percent(p *int32) string {
	if p == nil {
		return "?"
	}
	return fmt.Sprintf("%d%%", *p)
}

// Budget is a PodDisruptionBudget.
type Budget struct {
	Name    string `json:"name"`
	Allowed int32  `json:"allowed"`
	Healthy int32  `json:"healthy"`
	Desired int32  `json:"desired"`
}

// App is one application of the bookstore. Counts is nil if its pod could not be queried, and
// Fault says why; Certificate is nil when its proxy has none of the mesh's.
type App struct {
	Namespace   string            `json:"namespace"`
	Name        string            `json:"name"`
	Meshed      bool              `json:"meshed"`
	Counts      *bookstore.Counts `json:"counts,omitempty"`
	Certificate *Certificate      `json:"certificate,omitempty"`
	Fault       string            `json:"fault,omitempty"`
}

// Certificate is the workload certificate that an app's proxy holds.
type Certificate struct {
	SPIFFEID string    `json:"spiffeID"`
	Serial   string    `json:"serial"`
	Expires  time.Time `json:"expires"`
}

// verified returns the peers that carried a SPIFFE ID, sorted, with their number of requests.
func (a App) verified() []peer {
	if a.Counts == nil {
		return nil
	}
	var peers []peer
	for id, n := range a.Counts.Peers {
		if strings.HasPrefix(id, "spiffe://") {
			peers = append(peers, peer{id, n})
		}
	}
	slices.SortFunc(peers, func(a, b peer) int { return cmp.Compare(a.id, b.id) })
	return peers
}

type peer struct {
	id       string
	requests int64
}

// Missing lists what the demo promises but the report does not show yet; it is empty if nothing is
// missing.
func (r *Report) Missing() []string {
	var missing []string
	for _, name := range componentNames() {
		i := slices.IndexFunc(r.Components, func(c Component) bool { return c.Name == name })
		if i < 0 {
			missing = append(missing, "Deployment "+name)
			continue
		}
		missing = append(missing, r.Components[i].missing()...)
	}
	if len(r.Components) > 0 && r.Mesh.Root == "" {
		missing = append(missing, "a controller that reports which root it signs with")
	}
	for _, want := range cast() {
		i := slices.IndexFunc(r.Apps, func(a App) bool { return a.Name == want.name })
		if i < 0 {
			missing = append(missing, "a ready pod of "+want.name)
			continue
		}
		missing = append(missing, r.Apps[i].missing(want)...)
	}
	return missing
}

func (c Component) missing() []string {
	var missing []string
	if c.Ready() < int(c.Desired) || c.Desired == 0 {
		missing = append(missing, fmt.Sprintf("ready replicas of %s (%d of %d)", c.Name, c.Ready(), c.Desired))
	}
	switch {
	case c.Autoscaler == nil:
		missing = append(missing, "a HorizontalPodAutoscaler of "+c.Name)
	case c.Autoscaler.CPU.Current == nil:
		missing = append(missing, "CPU metric of HorizontalPodAutoscaler "+c.Autoscaler.Name)
	case c.Autoscaler.Memory.Current == nil:
		missing = append(missing, "memory metric of HorizontalPodAutoscaler "+c.Autoscaler.Name)
	}
	switch {
	case c.Budget == nil:
		missing = append(missing, "a PodDisruptionBudget of "+c.Name)
	case c.Budget.Allowed < 1:
		missing = append(missing, "a disruption allowed by PodDisruptionBudget "+c.Budget.Name)
	}
	return missing
}

func (a App) missing(want player) []string {
	if a.Counts == nil {
		return []string{fmt.Sprintf("counts of %s (%s)", a.Name, a.Fault)}
	}
	var missing []string
	if !a.Meshed {
		missing = append(missing, "a proxy in the pod of "+a.Name)
	}
	for _, seller := range want.buysFrom {
		if a.Counts.Books[seller] == 0 {
			missing = append(missing, fmt.Sprintf("a book that %s got from %s%s", a.Name, seller, lastFault(a)))
		}
	}
	for _, sender := range want.hearsFrom {
		if !slices.ContainsFunc(a.verified(), func(p peer) bool { return strings.HasSuffix(p.id, sender) }) {
			missing = append(missing, fmt.Sprintf("a request to %s with a verified certificate of %s", a.Name, sender))
		}
	}
	return missing
}

func lastFault(a App) string {
	if a.Counts.LastFault == "" {
		return ""
	}
	return " (its last fault: " + a.Counts.LastFault + ")"
}

// player is an app with its promises. The thief has none: whether it gets
// books is up to the policy.
type player struct {
	namespace, name string
	buysFrom        []string // identities that it must have got a book from
	hearsFrom       []string // ends of SPIFFE IDs that its proxy must have verified
}

func cast() []player {
	return []player{
		{namespace: "bookbuyer", name: "bookbuyer", buysFrom: []string{"bookstore-v1", "bookstore-v2"}},
		{namespace: "bookthief", name: "bookthief"},
		{namespace: "bookstore", name: "bookstore-v1", hearsFrom: []string{"/ns/bookbuyer/sa/bookbuyer"}},
		{namespace: "bookstore", name: "bookstore-v2", hearsFrom: []string{"/ns/bookbuyer/sa/bookbuyer"}},
		{namespace: "bookwarehouse", name: "bookwarehouse", hearsFrom: []string{"/ns/bookstore/sa/bookstore-v1", "/ns/bookstore/sa/bookstore-v2"}},
	}
}
