package ca

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
)

// awaitPause is the longest pause between two looks at a Secret that holds no usable root.
const awaitPause = 6 * time.Second

// Tresor keeps the root in a Secret of the mesh's namespace.
type Tresor struct {
	// Client, Namespace and Mesh are required.
	Client    kubernetes.Interface
	Namespace string
	Mesh      string
	// SecretName is the Secret's name; empty means api.CABundleSecret.
	SecretName string
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	// Log may be nil.
	Log *slog.Logger
}

// Load returns the root that the cluster holds, after making one if there is none: all replicas
// that load at once get the same (HA-3). It retries while the API server is away, until ctx ends;
// a Secret that holds no usable root is a *RootError.
func (t Tresor) Load(ctx context.Context) (*Root, error) {
	if t.Client == nil || t.Namespace == "" || t.Mesh == "" {
		return nil, errors.New("load root CA: a client, the mesh's namespace and its name are required")
	}
	fresh, err := NewRoot(t.now())
	if err != nil {
		return nil, fmt.Errorf("load root CA: %w", err)
	}
	secret, err := CreateOrGet(ctx, t.Client.CoreV1().Secrets(t.Namespace), t.secret(fresh), t.Log)
	if err != nil {
		return nil, fmt.Errorf("load root CA: %w", err)
	}
	root, err := ParseRoot(secret.Data, t.now())
	if err != nil {
		return nil, fmt.Errorf("load root CA from Secret %s: %w", t.object(), err)
	}
	return root, nil
}

// Await is Load for a replica that starts while the Secret holds no usable root: it reports each
// fault once, and goes on by itself soon after the Secret was repaired, without a restart.
func (t Tresor) Await(ctx context.Context, report func(*RootError)) (*Root, error) {
	last := ""
	for {
		root, err := t.Load(ctx)
		fault, broken := errors.AsType[*RootError](err)
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

// secret is the Secret of a new root. It is not immutable: a root is rotated by one atomic update,
// whereas an immutable Secret would have to be deleted first, and a replica that starts in that
// moment would make a third root. The control plane itself may not update it (see its Role).
func (t Tresor) secret(root *Root) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: t.Namespace,
			Name:      t.secretName(),
			Labels:    map[string]string{api.LabelName: api.NameValue, api.LabelInstance: t.Mesh},
		},
		Type: corev1.SecretTypeOpaque,
		Data: root.SecretData(),
	}
}

func (t Tresor) secretName() string { return cmp.Or(t.SecretName, api.CABundleSecret) }

func (t Tresor) object() string { return t.Namespace + "/" + t.secretName() }

func (t Tresor) now() time.Time { return clock(t.Now)().Round(0) }
