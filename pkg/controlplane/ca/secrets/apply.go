package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	applymeta "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

// probeSecret returns the current state of a Secret that the controller may not read, nil if there is
// none, or a foreignError. config holds only the type and one label, and is applied in dry-run mode.
func probeSecret(ctx context.Context, client kubernetes.Interface, config *applycore.SecretApplyConfiguration, label string, metrics *ca.Metrics) (*corev1.Secret, error) {
	secret, err := client.CoreV1().Secrets(*config.Namespace).Apply(ctx, config,
		metav1.ApplyOptions{FieldManager: probeManager, Force: true, DryRun: []string{metav1.DryRunAll}})
	var status apierrors.APIStatus
	if apierrors.IsInvalid(err) && errors.As(err, &status) && status.Status().Details != nil && missingData(status.Status().Details.Causes) {
		metrics.CountSecret("probe", nil)
		return nil, nil
	}
	metrics.CountSecret("probe", err)
	if apierrors.IsInvalid(err) {
		return nil, &foreignError{fmt.Errorf("is not of type %s, or is immutable: %w", corev1.SecretTypeTLS, err)}
	}
	if err != nil {
		return nil, fmt.Errorf("probe Secret %s/%s: %w", *config.Namespace, *config.Name, err)
	}
	if !ours(secret, label) {
		return nil, &foreignError{fmt.Errorf("lacks the label %s=%s", label, config.Labels[label])}
	}
	return secret, nil
}

// missingData reports whether the API server refused the probe because the Secret does not exist: it
// then requires the data of a new TLS Secret, and nothing else.
func missingData(causes []metav1.StatusCause) bool {
	if len(causes) == 0 {
		return false
	}
	for _, cause := range causes {
		if cause.Type != metav1.CauseTypeFieldValueRequired || !strings.HasPrefix(cause.Field, "data[") {
			return false
		}
	}
	return true
}

// ours reports whether a probed Secret had the label before the probe: then another field manager owns
// the label too. The chart's admission policy already refuses foreign Secrets; this check is for
// clusters without that policy.
func ours(secret *corev1.Secret, label string) bool {
	field := []byte(`"f:` + label + `"`)
	return slices.ContainsFunc(secret.ManagedFields, func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager != probeManager && m.FieldsV1 != nil && bytes.Contains(m.FieldsV1.GetRawBytes(), field)
	})
}

// foreignError reports a Secret that has the name of one of ours but belongs to somebody else.
type foreignError struct{ reason error }

func (e *foreignError) Error() string { return "somebody else's Secret: " + e.reason.Error() }

func (e *foreignError) Unwrap() error { return e.reason }

// applySecret writes the whole Secret.
func applySecret(ctx context.Context, client kubernetes.Interface, config *applycore.SecretApplyConfiguration, metrics *ca.Metrics) (*corev1.Secret, error) {
	secret, err := client.CoreV1().Secrets(*config.Namespace).Apply(ctx, config, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	metrics.CountSecret("write", err)
	if err != nil {
		return nil, fmt.Errorf("apply Secret %s/%s: %w", *config.Namespace, *config.Name, err)
	}
	return secret, nil
}

// ownedBy makes a ServiceAccount the owner of a Secret, if its UID is known.
func ownedBy(config *applycore.SecretApplyConfiguration, account Account) *applycore.SecretApplyConfiguration {
	if account.UID == "" {
		return config
	}
	return config.WithOwnerReferences(applymeta.OwnerReference().
		WithAPIVersion("v1").WithKind("ServiceAccount").WithName(account.ServiceAccount).WithUID(account.UID))
}
