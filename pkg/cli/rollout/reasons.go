package rollout

import (
	"context"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/cli/cluster"
	"github.com/osm-edge/osm/pkg/cli/command"
)

const (
	// patience is how long a wait may take before its reasons are looked for: a healthy rollout also passes through
	// unscheduled pods and images that are being pulled.
	patience = 15 * time.Second
	// lookEvery is how often they are looked for then.
	lookEvery = 3 * time.Second
)

// reasons shows during a wait why it will not end by itself, each reason once.
type reasons struct {
	env       *command.Env
	client    kubernetes.Interface
	namespace string
	start     time.Time
	next      time.Time
	shown     map[cluster.Stuck]bool // by component and kind
}

func newReasons(env *command.Env, client kubernetes.Interface, namespace string) *reasons {
	now := env.Now()
	return &reasons{env: env, client: client, namespace: namespace, start: now, next: now.Add(patience), shown: map[cluster.Stuck]bool{}}
}

// look is called again and again while the wait lasts.
func (r *reasons) look(ctx context.Context) {
	now := r.env.Now()
	if now.Before(r.next) {
		return
	}
	r.next = now.Add(lookEvery)
	found, err := cluster.FindStuck(ctx, r.client, r.namespace)
	if err != nil {
		r.env.Debugf("cannot tell what keeps the control plane from becoming ready: %v", err)
		return
	}
	present := map[cluster.Stuck]bool{}
	for _, stuck := range found {
		key := cluster.Stuck{App: stuck.App, Kind: stuck.Kind}
		present[key] = true
		if r.shown[key] {
			continue
		}
		r.env.Progressf("%s is not ready after %s: %s\n", stuck.App, now.Sub(r.start).Truncate(time.Second), stuck.Reason)
		if stuck.Hint != "" {
			r.env.Progressf("  hint: %s\n", stuck.Hint)
		}
	}
	r.shown = present
}
