package bootstrap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
)

// DefaultTimeout is how long Run tries unless told otherwise.
const DefaultTimeout = 2 * time.Minute

// Config is what Run needs.
type Config struct {
	// REST is the API server's configuration; required.
	REST *rest.Config
	// Namespace is the mesh's; empty means osm-system. It is created if it does not exist, which is the only
	// step that needs rights on namespaces.
	Namespace string
	// PresetFile holds the JSON of a MeshConfig spec; empty means the built-in defaults.
	PresetFile string
	// Timeout bounds the whole run, retries included; zero means DefaultTimeout.
	Timeout time.Duration
	// Logger is required.
	Logger *slog.Logger
}

// Validate reports everything that is wrong with c, joined.
func (c Config) Validate() error {
	var errs []error
	if c.REST == nil {
		errs = append(errs, errors.New("no API server configuration"))
	}
	if c.Logger == nil {
		errs = append(errs, errors.New("no logger"))
	}
	if problems := validation.IsDNS1123Label(cmp.Or(c.Namespace, api.DefaultNamespace)); len(problems) > 0 {
		errs = append(errs, fmt.Errorf("--osm-namespace %q is not a namespace's name: %s", c.Namespace, problems[0]))
	}
	if c.Timeout < 0 {
		errs = append(errs, fmt.Errorf("--timeout %v is negative: want 0 (meaning %v) or more", c.Timeout, DefaultTimeout))
	}
	return errors.Join(errs...)
}

// namespaceCreator is the part of a namespace client that Run needs.
type namespaceCreator interface {
	Create(ctx context.Context, namespace *corev1.Namespace, opts metav1.CreateOptions) (*corev1.Namespace, error)
}

// job is one run with its clients.
type job struct {
	crds        CRDClient
	namespaces  namespaceCreator
	meshConfigs MeshConfigClient
	namespace   string
	spec        map[string]any
	log         *slog.Logger
}

// Run applies the CRDs and then the MeshConfig, and retries transient errors until the timeout.
func Run(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	spec, err := readPreset(c.PresetFile)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	crds, err := apiextensionsclient.NewForConfig(c.REST)
	if err != nil {
		return fmt.Errorf("bootstrap: make CRD client: %w", err)
	}
	core, err := corev1client.NewForConfig(c.REST)
	if err != nil {
		return fmt.Errorf("bootstrap: make namespace client: %w", err)
	}
	objects, err := dynamic.NewForConfig(c.REST)
	if err != nil {
		return fmt.Errorf("bootstrap: make MeshConfig client: %w", err)
	}
	namespace := cmp.Or(c.Namespace, api.DefaultNamespace)
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.Timeout, DefaultTimeout))
	defer cancel()
	j := &job{
		crds: crds.CustomResourceDefinitions(), namespaces: core.Namespaces(),
		meshConfigs: objects.Resource(v1alpha2.GroupVersionResource()).Namespace(namespace),
		namespace:   namespace, spec: spec, log: c.Logger,
	}
	return j.run(ctx)
}

func (j *job) run(ctx context.Context) error {
	if err := j.retry(ctx, func(ctx context.Context) error { return ApplyCRDs(ctx, j.crds, j.log) }); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	if err := j.retry(ctx, j.applyMeshConfig); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}

func (j *job) applyMeshConfig(ctx context.Context) error {
	err := applyMeshConfig(ctx, j.meshConfigs, j.namespace, j.spec, j.log)
	if !missingNamespace(err, j.namespace) {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: j.namespace, Labels: map[string]string{api.LabelName: api.NameValue}}}
	_, err = j.namespaces.Create(ctx, namespace, metav1.CreateOptions{FieldManager: FieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", j.namespace, err)
	}
	return applyMeshConfig(ctx, j.meshConfigs, j.namespace, j.spec, j.log)
}

// retry repeats step with backoff while its error is transient, until ctx ends. It returns step's last error,
// so that the reader learns what the problem was.
func (j *job) retry(ctx context.Context, step func(context.Context) error) error {
	backoff := wait.Backoff{Duration: 250 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 20, Cap: 5 * time.Second}
	var last error
	err := backoff.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		err := step(ctx)
		if err == nil {
			return true, nil
		}
		if ctx.Err() != nil && last != nil {
			return false, ctx.Err()
		}
		last = err
		if !transient(err) {
			return false, err
		}
		j.log.Warn("bootstrap step failed, will retry", "error", err)
		return false, nil
	})
	if err != nil && last != nil && !errors.Is(err, last) {
		return fmt.Errorf("gave up (%w): %w", err, last)
	}
	return err
}

// transient reports whether a retry can help: the API server is unavailable, busy, or does not serve the new
// kind yet.
func transient(err error) bool {
	var network net.Error
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err), apierrors.IsServerTimeout(err), apierrors.IsTimeout(err),
		apierrors.IsTooManyRequests(err), apierrors.IsInternalError(err), apierrors.IsServiceUnavailable(err):
		return true
	case utilnet.IsConnectionRefused(err), utilnet.IsConnectionReset(err), utilnet.IsHTTP2ConnectionLost(err), utilnet.IsProbableEOF(err):
		return true
	}
	return errors.As(err, &network)
}
