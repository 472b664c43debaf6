package ca

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// Secrets is what CreateOrGet needs of a client: there is no update in it.
type Secrets interface {
	Create(ctx context.Context, secret *corev1.Secret, opts metav1.CreateOptions) (*corev1.Secret, error)
	Get(ctx context.Context, name string, opts metav1.GetOptions) (*corev1.Secret, error)
}

// CreateOrGet stores wanted unless a Secret of its name exists, and returns the one that the
// cluster holds. It is the only way by which replicas agree on a shared secret (HA-3): the API
// server lets one Create win, and everybody else takes what the winner stored. An existing Secret
// is never changed. Errors that may pass are retried, with growing jittered pauses, until ctx ends.
func CreateOrGet(ctx context.Context, secrets Secrets, wanted *corev1.Secret, log *slog.Logger) (*corev1.Secret, error) {
	pause := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 30, Cap: 10 * time.Second}
	for {
		secret, err := createOrGetOnce(ctx, secrets, wanted)
		if err == nil {
			return secret, nil
		}
		if !passing(err) {
			return nil, err
		}
		logger(log).Info("shared secret not available yet, will retry", "namespace", wanted.Namespace, "secret", wanted.Name, "error", err)
		if !pauseFor(ctx, pause.Step()) {
			return nil, fmt.Errorf("%w; last attempt: %w", context.Cause(ctx), err)
		}
	}
}

func createOrGetOnce(ctx context.Context, secrets Secrets, wanted *corev1.Secret) (*corev1.Secret, error) {
	created, err := secrets.Create(ctx, wanted, metav1.CreateOptions{})
	if err == nil {
		return created, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("create Secret %s/%s: %w", wanted.Namespace, wanted.Name, err)
	}
	found, err := secrets.Get(ctx, wanted.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		// Deleted since Create refused: the next Create decides again.
		return nil, fmt.Errorf("get Secret %s/%s: %w: %w", wanted.Namespace, wanted.Name, errVanished, err)
	}
	if err != nil {
		return nil, fmt.Errorf("get Secret %s/%s: %w", wanted.Namespace, wanted.Name, err)
	}
	return found, nil
}

// errVanished tells a Secret that was deleted between two calls from a missing namespace, which
// the API server reports by the same status.
var errVanished = errors.New("deleted between two calls")

// passing says whether an error may be gone at the next attempt: everything that is not an
// answer about the request itself.
func passing(err error) bool {
	if errors.Is(err, errVanished) {
		return true
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true // no answer: the connection failed, or the attempt's time was up
	}
	switch status.Status().Code {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true
	}
	return status.Status().Code >= http.StatusInternalServerError
}

// pauseFor waits; false means that ctx ended.
func pauseFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
