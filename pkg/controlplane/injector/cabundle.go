package injector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/api"
)

const (
	bundleManager  = "osm-injector"
	bundleInterval = time.Minute
	bundleRetry    = 5 * time.Second
)

// webhookPatcher is the one verb on webhook configurations that an injector may use.
type webhookPatcher interface {
	Patch(ctx context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions, subresources ...string) (*admissionregistrationv1.MutatingWebhookConfiguration, error)
}

// bundleWriter keeps the CA bundle in the webhook's configuration, so that the API server trusts
// the injectors. Every replica writes the same value under the same field manager: whoever is
// second changes nothing, and a bundle that something else removed is back within a minute.
type bundleWriter struct {
	client  webhookPatcher
	name    string
	bundle  func() []byte
	changed <-chan struct{}
	metrics *metrics
	log     *slog.Logger
	// written is told of the result of each write.
	written func(error)
}

// run writes now, at every change, each minute, and soon again after a failure, until ctx ends.
func (w *bundleWriter) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-w.changed:
		}
		next := bundleInterval
		err := w.write(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			w.log.Warn("webhook CA bundle not written, trying again", "error", err)
			next = bundleRetry
		}
		w.metrics.bundleWritten(err)
		w.written(err)
		timer.Reset(next)
	}
}

// write applies the bundle and nothing else. When the configuration does not exist it is not made:
// an entry of a name and a bundle alone is not valid, and creating needs a right that injectors
// do not have.
func (w *bundleWriter) write(ctx context.Context) error {
	bundle := w.bundle()
	if len(bundle) == 0 {
		return errors.New("no CA bundle yet")
	}
	data, err := json.Marshal(bundlePatch(w.name, bundle))
	if err != nil {
		return fmt.Errorf("encode CA bundle of MutatingWebhookConfiguration %s: %w", w.name, err)
	}
	force := true
	if _, err := w.client.Patch(ctx, w.name, types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: bundleManager, Force: &force}); err != nil {
		return fmt.Errorf("apply CA bundle to webhook %s of MutatingWebhookConfiguration %s: %w", api.WebhookName, w.name, err)
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
