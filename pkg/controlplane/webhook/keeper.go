package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

const (
	manager  = "osm-controller"
	interval = time.Minute // what somebody removed is back within it
	retry    = 5 * time.Second
	soonest  = time.Second // the shortest pause
)

// Patcher is the one verb on webhook configurations that the keeper needs.
type Patcher interface {
	Patch(ctx context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions, subresources ...string) (*admissionregistrationv1.MutatingWebhookConfiguration, error)
}

// Certificate keeps the injectors' certificate; *ca.ServingSecret is one.
type Certificate interface {
	Keep(ctx context.Context, owner types.UID, trust ca.Trust) (renewAt time.Time, err error)
}

// Config is what a Keeper needs. All fields but Now are required.
type Config struct {
	// Mesh is the mesh's name.
	Mesh     string
	Webhooks Patcher
	// Certificate is kept after the bundle was written.
	Certificate Certificate
	// Roots say what the API server is to trust.
	Roots ca.Truster
	// Owner is the uid of the injectors' ServiceAccount, empty while it is not known.
	Owner   func() types.UID
	Metrics *Metrics
	Log     *slog.Logger
	Now     func() time.Time
}

// Metrics count the writes; they outlast the terms of a Lease.
type Metrics struct{ bundles *prometheus.CounterVec }

// NewMetrics registers them.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{bundles: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "osm_admission_ca_bundle_writes_total", Help: "Writes of the CA bundle into the webhook configuration by result.",
	}, []string{"result"})}
	if err := registerer.Register(m.bundles); err != nil {
		return nil, fmt.Errorf("register webhook metrics: %w", err)
	}
	return m, nil
}

func (m *Metrics) written(err error) {
	result := "ok"
	if err != nil {
		result = "error"
	}
	m.bundles.WithLabelValues(result).Inc()
}

// Keeper keeps the webhook callable.
type Keeper struct{ cfg Config }

// New returns a Keeper that does nothing until Run.
func New(cfg Config) *Keeper {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Keeper{cfg: cfg}
}

// Run writes now, at every receive from changed, each minute, when the certificate is due, and soon
// again after a failure, until ctx ends; then it returns its cause. Call it while this replica holds
// the Lease.
func (k *Keeper) Run(ctx context.Context, changed <-chan struct{}) error {
	told := ""
	for {
		pause, err := k.pass(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		told = k.tell(err, told)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// tell logs an error once for as long as it stays, and returns what was told.
func (k *Keeper) tell(err error, told string) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	if text != told {
		k.cfg.Log.Warn("the admission webhook is not up to date, trying again", "error", err)
	}
	return text
}

// pass does everything once, the bundle first, and returns how long it may rest.
func (k *Keeper) pass(ctx context.Context) (time.Duration, error) {
	trust := k.cfg.Roots.Trust() // one moment's, for both
	err := k.writeBundle(ctx, trust.Bundle)
	k.cfg.Metrics.written(err)
	if err != nil {
		return retry, err
	}
	renewAt, err := k.cfg.Certificate.Keep(ctx, k.cfg.Owner(), trust)
	if err != nil {
		return retry, err
	}
	return min(interval, max(renewAt.Sub(k.cfg.Now()), soonest)), nil
}

// writeBundle applies the bundle and nothing else. When the configuration does not exist it is not
// made: an entry of a name and a bundle alone is not valid, and creating needs a right that
// controllers do not have.
func (k *Keeper) writeBundle(ctx context.Context, bundle []byte) error {
	if len(bundle) == 0 {
		return errors.New("no CA bundle yet")
	}
	name := api.WebhookConfigName(k.cfg.Mesh)
	data, err := json.Marshal(bundlePatch(name, bundle))
	if err != nil {
		return fmt.Errorf("encode CA bundle of MutatingWebhookConfiguration %s: %w", name, err)
	}
	force := true
	if _, err := k.cfg.Webhooks.Patch(ctx, name, types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: manager, Force: &force}); err != nil {
		return fmt.Errorf("apply CA bundle to webhook %s of MutatingWebhookConfiguration %s: %w", api.WebhookName, name, err)
	}
	return nil
}

func bundlePatch(name string, bundle []byte) map[string]any {
	return map[string]any{
		"apiVersion": admissionregistrationv1.SchemeGroupVersion.String(),
		"kind":       "MutatingWebhookConfiguration",
		"metadata":   map[string]any{"name": name},
		"webhooks":   []any{map[string]any{"name": api.WebhookName, "clientConfig": map[string]any{"caBundle": bundle}}},
	}
}
