package tresor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

// awaitPause is the maximum pause before a Secret that holds no usable root is read again.
const awaitPause = 6 * time.Second

// Store keeps the root in a Secret in the mesh's namespace.
type Store struct {
	// Client, Namespace and Mesh are required.
	Client    kubernetes.Interface
	Namespace string
	Mesh      string
	// SecretName is the Secret's name; empty means api.CABundleSecret.
	SecretName string
	// Expected returns the root that the mesh is known to use already; nil means that it is not known to use
	// any. It may ask the API server.
	Expected func(context.Context) (Expected, error)
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	// Log may be nil.
	Log *slog.Logger
}

// Load returns the root in the cluster, and creates one if the mesh has none. All replicas that load at
// the same time get the same root (HA-3). A mesh that is known to use a root never gets a second one: its
// workloads would not trust each other. Load retries while the API server is unavailable, until ctx ends.
// If the Secret holds no root that can be used, the error is a *ca.RootError.
func (s Store) Load(ctx context.Context) (*ca.Root, error) {
	if s.Client == nil || s.Namespace == "" || s.Mesh == "" {
		return nil, errors.New("load root CA: a client, the mesh's namespace and its name are required")
	}
	expected, err := s.expected(ctx)
	if err != nil {
		return nil, fmt.Errorf("load root CA: %w", err)
	}
	secret, err := s.secretOf(ctx, expected)
	if err != nil {
		return nil, err
	}
	root, err := ca.ParseRoot(secret.Data, s.now())
	if err == nil && !expected.allows(root) {
		err = expected.differs(root)
	}
	if err != nil {
		return nil, fmt.Errorf("load root CA from Secret %s: %w", s.object(), err)
	}
	return root, nil
}

// secretOf reads the root's Secret. It creates one only for a mesh that uses no root yet.
func (s Store) secretOf(ctx context.Context, expected Expected) (*corev1.Secret, error) {
	secrets := s.Client.CoreV1().Secrets(s.Namespace)
	if expected.any() {
		secret, err := retry(ctx, s.Log, s.object(), func() (*corev1.Secret, error) { return secrets.Get(ctx, s.secretName(), metav1.GetOptions{}) })
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("load root CA from Secret %s: %w", s.object(), expected.missing())
		}
		if err != nil {
			return nil, fmt.Errorf("load root CA: get Secret %s: %w", s.object(), err)
		}
		return secret, nil
	}
	fresh, err := ca.NewRoot(s.now())
	if err != nil {
		return nil, fmt.Errorf("load root CA: %w", err)
	}
	secret, err := CreateOrGet(ctx, secrets, s.secret(fresh), s.Log)
	if err != nil {
		return nil, fmt.Errorf("load root CA: %w", err)
	}
	return secret, nil
}

// Await is Load for a replica that starts while the Secret holds no usable root. It reports each fault
// once and returns soon after the Secret is repaired, without a restart.
func (s Store) Await(ctx context.Context, report func(*ca.RootError)) (*ca.Root, error) {
	last := ""
	for {
		root, err := s.Load(ctx)
		fault, broken := errors.AsType[*ca.RootError](err)
		if !broken {
			return root, err
		}
		if fault.Error() != last {
			last = fault.Error()
			report(fault)
		}
		if !pauseFor(ctx, awaitPause/2+rand.N(awaitPause/2)) { //nolint:gosec // jitter is no secret
			return nil, fmt.Errorf("%w; last attempt: %w", context.Cause(ctx), err)
		}
	}
}

// secret is the Secret of a new root. It is not immutable: an immutable Secret would have to be deleted
// before it is replaced, and a replica that starts at that moment would create a third root. The
// control plane itself may not update it (see its Role).
func (s Store) secret(root *ca.Root) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace,
			Name:      s.secretName(),
			Labels:    map[string]string{api.LabelName: api.NameValue, api.LabelInstance: s.Mesh},
		},
		Type: corev1.SecretTypeOpaque,
		Data: root.SecretData(),
	}
}

func (s Store) secretName() string { return cmp.Or(s.SecretName, api.CABundleSecret) }

func (s Store) object() string { return s.Namespace + "/" + s.secretName() }

func (s Store) now() time.Time {
	if s.Now != nil {
		return s.Now().Round(0)
	}
	return time.Now().Round(0)
}
