package injector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/ca/secrets"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

// checkInterval bounds how late the expiry of the certificate, or a jump of the wall clock, is noticed.
const checkInterval = 30 * time.Second

// certificateCache follows the Secret with the webhook's certificate, the only Secret that an injector may
// read. It serves the last certificate that was valid on arrival. A Secret that is broken or deleted changes
// nothing, and while the controllers are unavailable no new certificate arrives.
type certificateCache struct {
	informer cache.SharedIndexInformer
	secret   string // namespace/name
	host     string
	shows    func(ca.Trust)
	ready    *serve.Condition
	log      *slog.Logger
	now      func() time.Time
	first    chan struct{} // closed when there is a certificate

	mu      sync.Mutex
	held    *secrets.Served
	expired bool // and logged
}

func newCertificateCache(client kubernetes.Interface, cfg Config) (*certificateCache, error) {
	namespace := cfg.Settings.Namespace
	c := &certificateCache{
		secret: namespace + "/" + api.InjectorCertificateSecret, host: api.InjectorHost(namespace),
		shows: cfg.Roots, log: cfg.Log, now: cfg.Now, first: make(chan struct{}),
	}
	c.ready = cfg.Health.Require("webhook certificate", c.waiting(errors.New("is not there yet")))
	expiry := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "osm_admission_certificate_expiry_timestamp_seconds", Help: "When the certificate that the webhook serves expires, 0 while there is none.",
	}, c.expiry)
	if err := cfg.Metrics.Register(expiry); err != nil {
		return nil, fmt.Errorf("register injector metrics: %w", err)
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, api.InjectorCertificateSecret).String()
		}))
	c.informer = factory.Core().V1().Secrets().Informer()
	if err := c.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
		c.unread(err)
		cache.DefaultWatchErrorHandler(ctx, r, err)
	}); err != nil {
		return nil, fmt.Errorf("watch Secret %s: %w", c.secret, err)
	}
	if _, err := c.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: c.set, UpdateFunc: func(_, object any) { c.set(object) }, DeleteFunc: func(any) { c.gone() },
	}); err != nil {
		return nil, fmt.Errorf("watch Secret %s: %w", c.secret, err)
	}
	return c, nil
}

// waiting is the text that readiness shows while there is no certificate.
func (c *certificateCache) waiting(err error) string {
	return fmt.Sprintf("Secret %s, which the controller that holds the Lease writes: %v", c.secret, err)
}

// set adopts the certificate in the Secret, if the API server would accept it.
func (c *certificateCache) set(object any) {
	secret, ok := object.(*corev1.Secret)
	if !ok || secret.Name != api.InjectorCertificateSecret {
		return
	}
	served, err := secrets.ParseServed(secret.Data, c.host, c.now().Round(0))
	if err != nil {
		c.log.Error("cannot use the webhook's new certificate, keeping the last one", "secret", c.secret, "error", err)
		c.unread(err)
		return
	}
	c.mu.Lock()
	fresh := c.held == nil
	c.held, c.expired = served, false
	c.mu.Unlock()
	if fresh {
		close(c.first)
	}
	if c.shows != nil {
		c.shows(served.Trust)
	}
	c.log.Info("serving a new webhook certificate", "serial", served.Certificate.Leaf.SerialNumber.Text(16), "notAfter", served.Certificate.Leaf.NotAfter, "signer", served.Trust.Fingerprint)
	c.checkExpiry()
}

func (c *certificateCache) gone() {
	c.log.Error("the Secret with the webhook's certificate was deleted, keeping the last certificate", "secret", c.secret)
}

// unread sets the reason that readiness shows, while there is no certificate.
func (c *certificateCache) unread(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.ready.Unmet(c.waiting(err))
	}
}

// run checks the expiry of the certificate until ctx ends.
func (c *certificateCache) run(ctx context.Context) error {
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			c.checkExpiry()
		}
	}
}

// checkExpiry makes the replica ready or unready by whether the API server accepts the certificate.
func (c *certificateCache) checkExpiry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		return
	}
	end := c.held.Certificate.Leaf.NotAfter
	if c.now().Round(0).Before(end) {
		c.ready.Met()
		return
	}
	text := c.waiting(fmt.Errorf("its certificate expired at %s and was not renewed: look at the log of %s", end.UTC().Format(time.RFC3339), api.AppController))
	c.ready.Unmet(text)
	if !c.expired {
		c.expired = true
		c.log.Error("the webhook's certificate has expired, the API server no longer accepts it", "problem", text)
	}
}

func (c *certificateCache) expiry() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		return 0
	}
	return float64(c.held.Certificate.Leaf.NotAfter.Unix())
}

// certificate is for tls.Config.GetCertificate. It also returns an expired certificate: the client's error
// then says what is wrong.
func (c *certificateCache) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		return nil, errors.New("no certificate yet: " + c.secret)
	}
	return &c.held.Certificate, nil
}
