package injector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca/secrets"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/serve"
)

// judgeEvery is how late the end of the certificate, or a jump of the wall clock, is noticed.
const judgeEvery = 30 * time.Second

// certificateCache follows the Secret with the webhook's certificate, the only one that an injector may
// read. It serves the last one that was valid when it came: a Secret that is broken or gone changes
// nothing, and while the controllers are away there is simply no other.
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
	expired bool // and told
}

func newCertificateCache(client kubernetes.Interface, cfg Config) (*certificateCache, error) {
	namespace := cfg.Settings.Namespace
	c := &certificateCache{
		secret: namespace + "/" + api.InjectorCertificateSecret, host: api.InjectorHost(namespace),
		shows: cfg.Roots, log: cfg.Logger, now: clock(cfg.Now), first: make(chan struct{}),
	}
	c.ready = cfg.Health.Require("webhook certificate", c.waiting(errors.New("is not there yet")))
	expiry := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "osm_admission_certificate_expiry_timestamp_seconds", Help: "End of the certificate that the webhook serves, 0 while there is none.",
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

// waiting words why there is no certificate.
func (c *certificateCache) waiting(err error) string {
	return fmt.Sprintf("Secret %s, which the controller that holds the Lease writes: %v", c.secret, err)
}

// set takes what is in the Secret now, if the API server would accept it.
func (c *certificateCache) set(object any) {
	secret, ok := object.(*corev1.Secret)
	if !ok || secret.Name != api.InjectorCertificateSecret {
		return
	}
	served, err := secrets.ParseServed(secret.Data, c.host, c.now().Round(0))
	if err != nil {
		c.log.Error("the webhook's certificate cannot be used, any former one is served on", "secret", c.secret, "error", err)
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
	c.log.Info("the webhook's certificate", "serial", served.Certificate.Leaf.SerialNumber.Text(16), "notAfter", served.Certificate.Leaf.NotAfter, "signer", served.Trust.Fingerprint)
	c.judge()
}

func (c *certificateCache) gone() {
	c.log.Error("the Secret with the webhook's certificate is gone, the former one is served on", "secret", c.secret)
}

// unread tells readiness why there is no certificate, while there is none.
func (c *certificateCache) unread(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.ready.Unmet(c.waiting(err))
	}
}

// run notices the end of the certificate, until ctx ends.
func (c *certificateCache) run(ctx context.Context) error {
	ticker := time.NewTicker(judgeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			c.judge()
		}
	}
}

// judge says whether the API server accepts what is served.
func (c *certificateCache) judge() {
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
	text := c.waiting(fmt.Errorf("its certificate expired at %s and no other has come: look at the log of %s", end.UTC().Format(time.RFC3339), api.AppController))
	c.ready.Unmet(text)
	if !c.expired {
		c.expired = true
		c.log.Error("the API server does not accept this webhook any more", "problem", text)
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

// certificate is for tls.Config.GetCertificate. One that has expired is served as well: the client's
// complaint says what is wrong.
func (c *certificateCache) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		return nil, errors.New("no certificate yet: " + c.secret)
	}
	return &c.held.Certificate, nil
}
