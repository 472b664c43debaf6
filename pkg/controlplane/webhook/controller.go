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
	interval = time.Minute // how soon a removed bundle is restored
	retry    = 5 * time.Second
	minPause = time.Second
)

// Patcher patches webhook configurations, the only access to them that the controller needs.
type Patcher interface {
	Patch(ctx context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions, subresources ...string) (*admissionregistrationv1.MutatingWebhookConfiguration, error)
}

// Certificate keeps the injectors' serving certificate; *secrets.ServingController implements it.
type Certificate interface {
	Reconcile(ctx context.Context, owner types.UID, trust ca.Trust) (renewAt time.Time, err error)
}

// Config configures a Controller. All fields but Now are required.
type Config struct {
	// Mesh is the mesh's name.
	Mesh     string
	Webhooks Patcher
	// Certificate is reconciled after the bundle is written.
	Certificate Certificate
	// Roots are the CAs that the API server is to trust.
	Roots ca.Truster
	// Owner is the UID of the injectors' ServiceAccount, empty while it is not known.
	Owner   func() types.UID
	Metrics *Metrics
	Log     *slog.Logger
	Now     func() time.Time
}

// Metrics counts the writes. It outlives the Controller, which each new leader recreates.
type Metrics struct{ bundles *prometheus.CounterVec }

// NewMetrics registers the metrics.
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

// Controller writes the trust bundle and the serving certificate.
type Controller struct{ cfg Config }

// New returns a Controller that does nothing until Run.
func New(cfg Config) *Controller {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Controller{cfg: cfg}
}

// Run reconciles at once, on each receive from changed, every minute, when the certificate is due, and soon
// after a failure, until ctx ends; then it returns ctx's cause. Call it on the leader.
func (c *Controller) Run(ctx context.Context, changed <-chan struct{}) error {
	lastError := ""
	for {
		pause, err := c.reconcile(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		lastError = c.logError(err, lastError)
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

// logError logs an error unless it equals the last one, and returns its text.
func (c *Controller) logError(err error, last string) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	if text != last {
		c.cfg.Log.Warn("admission webhook not up to date, will retry", "error", err)
	}
	return text
}

// reconcile writes the bundle and then the certificate, and returns the pause until the next time.
func (c *Controller) reconcile(ctx context.Context) (time.Duration, error) {
	trust := c.cfg.Roots.Trust() // the same for both
	err := c.writeBundle(ctx, trust.Bundle)
	c.cfg.Metrics.written(err)
	if err != nil {
		return retry, err
	}
	renewAt, err := c.cfg.Certificate.Reconcile(ctx, c.cfg.Owner(), trust)
	if err != nil {
		return retry, err
	}
	return min(interval, max(renewAt.Sub(c.cfg.Now()), minPause)), nil
}

// writeBundle applies the bundle and nothing else. It never creates the configuration: an entry with
// only a name and a bundle is not valid, and controllers have no right to create one.
func (c *Controller) writeBundle(ctx context.Context, bundle []byte) error {
	if len(bundle) == 0 {
		return errors.New("no CA bundle yet")
	}
	name := api.WebhookConfigName(c.cfg.Mesh)
	data, err := json.Marshal(bundlePatch(name, bundle))
	if err != nil {
		return fmt.Errorf("encode CA bundle of MutatingWebhookConfiguration %s: %w", name, err)
	}
	force := true
	if _, err := c.cfg.Webhooks.Patch(ctx, name, types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: manager, Force: &force}); err != nil {
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
