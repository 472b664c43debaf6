package ca

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	applymeta "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Controllers keep certificates in Secrets that they may write but not read: one for each ServiceAccount's
// proxies (ProxySecrets), and the injectors' (ServingSecret). Here is what is done to a Secret of either
// kind: probe it, judge it, write it.

// probeSecret returns a Secret that the controller may not read as it is, nil if there is none, or a
// foreignError. config claims nothing but the type and one label, and is applied in dry-run mode.
func probeSecret(ctx context.Context, client kubernetes.Interface, config *applycore.SecretApplyConfiguration, label string, metrics *Metrics) (*corev1.Secret, error) {
	secret, err := client.CoreV1().Secrets(*config.Namespace).Apply(ctx, config,
		metav1.ApplyOptions{FieldManager: probeManager, Force: true, DryRun: []string{metav1.DryRunAll}})
	var status apierrors.APIStatus
	if apierrors.IsInvalid(err) && errors.As(err, &status) && status.Status().Details != nil && missingData(status.Status().Details.Causes) {
		metrics.secret("probe", nil)
		return nil, nil
	}
	metrics.secret("probe", err)
	if apierrors.IsInvalid(err) {
		return nil, &foreignError{fmt.Errorf("is not of type %s, or is immutable: %w", corev1.SecretTypeTLS, err)}
	}
	if err != nil {
		return nil, fmt.Errorf("look at Secret %s/%s: %w", *config.Namespace, *config.Name, err)
	}
	if !ours(secret, label) {
		return nil, &foreignError{fmt.Errorf("lacks the label %s=%s", label, config.Labels[label])}
	}
	return secret, nil
}

// missingData says whether the API server refused the probe because there is no Secret to show:
// it asks for the data of a new TLS Secret then, and for nothing else.
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

// ours says whether a probed Secret carried the label before the probe: then somebody else owns the
// label too. The admission policy of the chart refuses others already; this holds where that policy
// is absent.
func ours(secret *corev1.Secret, label string) bool {
	field := []byte(`"f:` + label + `"`)
	return slices.ContainsFunc(secret.ManagedFields, func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager != probeManager && m.FieldsV1 != nil && bytes.Contains(m.FieldsV1.GetRawBytes(), field)
	})
}

// foreignError is about a Secret that has the name of one that is kept, and is somebody else's.
type foreignError struct{ reason error }

func (e *foreignError) Error() string { return "somebody else's Secret: " + e.reason.Error() }
func (e *foreignError) Unwrap() error { return e.reason }

// applySecret writes the whole Secret.
func applySecret(ctx context.Context, client kubernetes.Interface, config *applycore.SecretApplyConfiguration, metrics *Metrics) (*corev1.Secret, error) {
	secret, err := client.CoreV1().Secrets(*config.Namespace).Apply(ctx, config, metav1.ApplyOptions{FieldManager: proxyManager, Force: true})
	metrics.secret("write", err)
	if err != nil {
		return nil, fmt.Errorf("apply Secret %s/%s: %w", *config.Namespace, *config.Name, err)
	}
	return secret, nil
}

// ownedBy makes a ServiceAccount the owner of a Secret, if its uid is known.
func ownedBy(config *applycore.SecretApplyConfiguration, account Account) *applycore.SecretApplyConfiguration {
	if account.UID == "" {
		return config
	}
	return config.WithOwnerReferences(applymeta.OwnerReference().
		WithAPIVersion("v1").WithKind("ServiceAccount").WithName(account.ServiceAccount).WithUID(account.UID))
}

// chainIn returns the certificate in a Secret, with its intermediates, if the key beside it is its own and
// the Secret will be collected together with its ServiceAccount.
func chainIn(secret *corev1.Secret, account Account) ([]*x509.Certificate, error) {
	if !owned(secret, account.UID) {
		return nil, fmt.Errorf("owner is not ServiceAccount %s with uid %s", account.Identity, account.UID)
	}
	if _, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return nil, fmt.Errorf("certificate and key: %w", err)
	}
	return parseProvided(secret.Data[corev1.TLSCertKey])
}

func owned(secret *corev1.Secret, owner types.UID) bool {
	return owner == "" || slices.ContainsFunc(secret.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == owner })
}

// renewalOf is when a certificate that was just issued is due.
func renewalOf(leaf *Leaf) time.Time {
	return leaf.Issued.Add(fraction(leaf.NotAfter.Sub(leaf.Issued), proxyRenew))
}

// leafRule is what a certificate in a Secret has to be.
type leafRule struct {
	names string // the SPIFFE id
	host  string // a DNS name that it must hold; empty for none
	usage x509.ExtKeyUsage
	ttl   time.Duration
}

// fit checks identity, signature and age, and returns until when the certificate may stay.
func (r leafRule) fit(chain []*x509.Certificate, trust Trust, now time.Time) (renewAt time.Time, err error) {
	cert := chain[0]
	if len(cert.URIs) != 1 || cert.URIs[0].String() != r.names {
		return time.Time{}, fmt.Errorf("certificate names %v, want %s", cert.URIs, r.names)
	}
	_, err = cert.Verify(x509.VerifyOptions{
		DNSName: r.host, Roots: trust.Pool(), Intermediates: poolOf(chain[1:]), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{r.usage},
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("certificate: %w", err)
	}
	issued := cert.NotBefore.Add(leafBackdate)
	life := cert.NotAfter.Sub(issued)
	if life > r.ttl+leafBackdate {
		return time.Time{}, fmt.Errorf("certificate lives for %v, want %v", life, r.ttl)
	}
	renewAt = issued.Add(fraction(life, proxyRenew))
	if !now.Before(renewAt) {
		return time.Time{}, fmt.Errorf("half of the certificate's life was over at %s", stamp(renewAt))
	}
	return renewAt, nil
}
