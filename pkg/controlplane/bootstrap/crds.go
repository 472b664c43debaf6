package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/osm-edge/osm/pkg/controlplane/bootstrap/crds"
)

// FieldManager is the field manager of everything that this package applies.
const FieldManager = crds.FieldManager

// establishPoll is how often to check whether the API server has established a CRD.
const establishPoll = 200 * time.Millisecond

// CRDClient is the part of a CustomResourceDefinition client that ApplyCRDs needs; the
// generated clientset satisfies it.
type CRDClient interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (*apiextensionsv1.CustomResourceDefinition, error)
	Patch(ctx context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions, subresources ...string) (*apiextensionsv1.CustomResourceDefinition, error)
}

// ApplyCRDs applies all CRDs with server-side apply and returns when the API server has established them or
// ctx ends. If any of them must not be replaced, it changes none. It does not retry.
func ApplyCRDs(ctx context.Context, client CRDClient, log *slog.Logger) error {
	all, err := crds.All()
	if err != nil {
		return err
	}
	present, err := replaceable(ctx, client, all)
	if err != nil {
		return err
	}
	for _, crd := range all {
		if err := applyCRD(ctx, client, crd, present[crd.Name]); err != nil {
			return err
		}
		log.Info("applied CRD", "crd", crd.Name)
	}
	for _, crd := range all {
		if err := awaitEstablished(ctx, client, crd.Name); err != nil {
			return err
		}
	}
	return nil
}

// replaceable returns the resource versions of the CRDs that the cluster already has, by name. The error
// names every CRD that must not be replaced.
func replaceable(ctx context.Context, client CRDClient, all []*apiextensionsv1.CustomResourceDefinition) (map[string]string, error) {
	present := map[string]string{}
	var conflicts []error
	for _, crd := range all {
		found, err := client.Get(ctx, crd.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for CRD %s: %w", crd.Name, err)
		}
		present[crd.Name] = found.ResourceVersion
		conflicts = append(conflicts, crds.Conflict(found, crd))
	}
	return present, errors.Join(conflicts...)
}

// applyCRD sends the CRD without its status, which belongs to the API server. A CRD that was checked is
// replaced only at that resource version, including users' changes; one that was absent is not replaced if
// someone else has created it meanwhile.
func applyCRD(ctx context.Context, client CRDClient, crd *apiextensionsv1.CustomResourceDefinition, resourceVersion string) error {
	crd = crd.DeepCopy()
	crd.ResourceVersion = resourceVersion
	data, err := json.Marshal(struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        metav1.ObjectMeta                            `json:"metadata"`
		Spec            apiextensionsv1.CustomResourceDefinitionSpec `json:"spec"`
	}{crd.TypeMeta, crd.ObjectMeta, crd.Spec})
	if err != nil {
		return fmt.Errorf("encode CRD %s: %w", crd.Name, err)
	}
	force := resourceVersion != ""
	opts := metav1.PatchOptions{FieldManager: FieldManager, Force: &force}
	if _, err := client.Patch(ctx, crd.Name, types.ApplyPatchType, data, opts); err != nil {
		return fmt.Errorf("apply CRD %s: %w", crd.Name, err)
	}
	return nil
}

func awaitEstablished(ctx context.Context, client CRDClient, name string) error {
	state := "no status yet"
	err := wait.PollUntilContextCancel(ctx, establishPoll, true, func(ctx context.Context) (bool, error) {
		crd, err := client.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		var done bool
		done, state = established(crd)
		return done, nil
	})
	if err != nil {
		return fmt.Errorf("wait for CRD %s to be established (%s): %w", name, state, err)
	}
	return nil
}

// established reports whether the API server accepts objects of the CRD's kind, and if not, why.
func established(crd *apiextensionsv1.CustomResourceDefinition) (bool, string) {
	state := "no status yet"
	for _, c := range crd.Status.Conditions {
		if c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue {
			return true, ""
		}
		if c.Status == apiextensionsv1.ConditionFalse {
			state = fmt.Sprintf("%s: %s", c.Reason, c.Message)
		}
	}
	return false, state
}
