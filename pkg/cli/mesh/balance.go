package mesh

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/cli/output"
)

// balance is how the proxies of a mesh are spread over the replicas of osm-controller.
type balance struct {
	Mesh      string `json:"mesh"`
	Namespace string `json:"namespace"`
	// FairShare is the number of proxies for each ready replica; absent while the load of a replica is unknown.
	FairShare *float64 `json:"fairShare,omitempty"`
	// Balanced reports whether no replica has more than a tenth above its share.
	Balanced bool `json:"balanced"`
	// Moves is how many proxies would move, or move still.
	Moves    int    `json:"moves"`
	Replicas []load `json:"replicas"`
}

// load is that of one replica.
type load struct {
	Pod     string `json:"pod"`
	Node    string `json:"node"`
	Proxies int    `json:"proxies"`
	Movable int    `json:"movable"`
	// Moves is how many it would send away: its surplus, as far as those may be moved now.
	Moves  int        `json:"moves"`
	Moved  int        `json:"moved,omitempty"` // of the last order
	Status loadStatus `json:"status"`
	// Problem says why it could not be asked, or why it keeps more than its share.
	Problem string `json:"problem,omitempty"`

	ordered bool
	err     error
}

type loadStatus string

const (
	statusOK       loadStatus = "OK"
	statusOver     loadStatus = "OVER"     // its share
	statusNotReady loadStatus = "NOTREADY" // it neither counts nor receives
	statusUnknown  loadStatus = "UNKNOWN"
)

// newBalance computes the share, and what each replica has above it, by the rule of the replicas themselves.
func newBalance(mesh, namespace string, loads []load) balance {
	b := balance{Mesh: mesh, Namespace: namespace, Replicas: loads}
	total, ready, unknown := 0, 0, false
	for _, l := range loads {
		switch l.Status {
		case statusUnknown:
			unknown = true
		case statusNotReady:
		default:
			total, ready = total+l.Proxies, ready+1
		}
	}
	if unknown || ready == 0 {
		return b
	}
	fair := float64(total) / float64(ready)
	b.FairShare, b.Balanced = &fair, true
	for i := range loads {
		l := &loads[i]
		if l.Status == statusNotReady || float64(l.Proxies) <= math.Ceil(fair*api.UnevenAbove) {
			continue
		}
		l.Status, l.Moves = statusOver, min(l.Proxies-int(math.Ceil(fair)), l.Movable)
		b.Balanced = false
		b.Moves += l.Moves
	}
	return b
}

// moving reports whether a replica carries out an order.
func (b balance) moving() bool {
	for _, l := range b.Replicas {
		if l.ordered {
			return true
		}
	}
	return false
}

// unknown is the error about the replicas that cannot be asked, if there are any.
func (b balance) unknown() error {
	for _, l := range b.Replicas {
		if l.Status == statusUnknown {
			return fmt.Errorf("the number of proxies of replica %s is unknown, so nothing can be moved: %w; repair the replica or wait until it is gone, and run the command again", l.Pod, l.err)
		}
	}
	return nil
}

// unplanned is why no rebalancing can begin, if that is so.
func (b balance) unplanned() error {
	if err := b.unknown(); err != nil {
		return err
	}
	ready := 0
	for _, l := range b.Replicas {
		if l.Status != statusNotReady {
			ready++
		}
	}
	if ready < 2 {
		return fmt.Errorf("%d of %d replicas of osm-controller are ready endpoints of their Service, and proxies can only move between two: add replicas with osm mesh scale --controller 2, or wait until they are ready", ready, len(b.Replicas))
	}
	if b.Moves == 0 {
		return b.uneven()
	}
	return nil
}

// uneven names the replicas that have more than their share, if there are any.
func (b balance) uneven() error {
	if err := b.unknown(); err != nil {
		return err
	}
	var over []string
	for _, l := range b.Replicas {
		if l.Status != statusOver {
			continue
		}
		text := fmt.Sprintf("%s has %d proxies", l.Pod, l.Proxies)
		if l.Problem != "" {
			text += " (" + l.Problem + ")"
		}
		over = append(over, text)
	}
	if len(over) == 0 {
		return nil
	}
	return fmt.Errorf("the replicas are not balanced: the fair share is %s, and %s; proxies that have connected or were moved in the last ten minutes stay: run osm mesh rebalance again after that", share(b.FairShare), strings.Join(over, ", "))
}

func (b balance) grid() output.Grid {
	grid := output.Grid{Header: []string{"REPLICA", "NODE", "PROXIES", "SHARE", "MOVES", "STATUS", "PROBLEM"}}
	for _, l := range b.Replicas {
		fair, moves := share(b.FairShare), strconv.Itoa(l.Moves)
		if l.Status == statusNotReady || b.FairShare == nil {
			fair, moves = "-", "-"
		}
		grid.Rows = append(grid.Rows, []string{l.Pod, l.Node, l.count(), fair, moves, string(l.Status), l.Problem})
	}
	return grid
}

// count is the number of proxies, if it is known.
func (l load) count() string {
	if l.Status == statusUnknown {
		return string(statusUnknown)
	}
	return strconv.Itoa(l.Proxies)
}

func share(fair *float64) string {
	if fair == nil {
		return "-"
	}
	return strconv.FormatFloat(*fair, 'f', 1, 64)
}
