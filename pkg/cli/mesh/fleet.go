package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/debug"
	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
)

const (
	// loadTimeout limits one question to a replica.
	loadTimeout = 10 * time.Second
	maxLoadPage = 1 << 20
)

// fleet are the replicas of osm-controller, with a port-forward to each.
type fleet struct {
	replicas []*replica
}

// replica is one of them. Its connection stays open between questions.
type replica struct {
	forward command.Forwarder
	pod     corev1.Pod
	address string // "" if there is no connection
	stop    func()
}

// newFleet leaves out pods that have ended: they have no proxies.
func newFleet(forward command.Forwarder, pods []corev1.Pod) *fleet {
	f := &fleet{}
	for _, pod := range pods {
		if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			f.replicas = append(f.replicas, &replica{forward: forward, pod: pod})
		}
	}
	return f
}

func (f *fleet) close() {
	for _, r := range f.replicas {
		r.close()
	}
}

// ask asks all replicas at the same time. One that does not answer is UNKNOWN.
func (f *fleet) ask(ctx context.Context) []load {
	loads := make([]load, len(f.replicas))
	var asked sync.WaitGroup
	for i, r := range f.replicas {
		asked.Go(func() { loads[i] = r.load(ctx) })
	}
	asked.Wait()
	return loads
}

// order tells a replica to send its surplus away.
func (f *fleet) order(ctx context.Context, pod string) error {
	for _, r := range f.replicas {
		if r.pod.Name == pod {
			_, err := r.request(ctx, http.MethodPost)
			return err
		}
	}
	return fmt.Errorf("there is no replica %s", pod)
}

func (r *replica) load(ctx context.Context) load {
	l := load{Pod: r.pod.Name, Node: r.pod.Spec.NodeName, Status: statusUnknown}
	page, err := r.request(ctx, http.MethodGet)
	if err != nil {
		l.err, l.Problem = err, err.Error()
		return l
	}
	l.Proxies, l.Movable, l.Moved, l.ordered, l.Problem, l.Status = page.Proxies, page.Movable, page.Moved, page.Ordered, page.Why, statusOK
	if !page.Ready {
		l.Status = statusNotReady
	}
	return l
}

// request asks for the load, or gives the order. After an error the next request opens a new connection.
func (r *replica) request(ctx context.Context, method string) (page debug.Rebalance, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, loadTimeout, fmt.Errorf("no answer within %s", loadTimeout))
	defer cancel()
	if r.address == "" {
		if r.address, r.stop, err = r.forward(ctx, r.pod.Namespace, r.pod.Name, api.PortDebug); err != nil {
			r.address = ""
			return page, err
		}
	}
	answer, err := r.send(ctx, method)
	if ctx.Err() != nil { // the cause is more informative than the failed request
		err = context.Cause(ctx)
	}
	if err == nil {
		page, err = decodeLoad(answer)
	}
	if err != nil {
		r.close()
	}
	return page, err
}

func (r *replica) send(ctx context.Context, method string) (*cluster.Answer, error) {
	if method == http.MethodPost {
		return cluster.Act(ctx, r.address, debug.RebalancePath, maxLoadPage)
	}
	return cluster.Ask(ctx, r.address, debug.RebalancePath, maxLoadPage)
}

func decodeLoad(answer *cluster.Answer) (page debug.Rebalance, err error) {
	switch answer.Status {
	case http.StatusOK:
	case http.StatusNotFound:
		return page, errors.New("it does not show its load, because its version is older than this osm: upgrade the mesh with osm mesh upgrade")
	default:
		text, _, _ := strings.Cut(strings.TrimSpace(string(answer.Body)), "\n")
		return page, fmt.Errorf("%s: %s", answer.StatusLine(), text[:min(200, len(text))])
	}
	if err := json.Unmarshal(answer.Body, &page); err != nil {
		return page, fmt.Errorf("decode its load: %w", err)
	}
	return page, nil
}

func (r *replica) close() {
	if r.address != "" {
		r.stop()
	}
	r.address = ""
}
