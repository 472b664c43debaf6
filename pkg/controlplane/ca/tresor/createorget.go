package tresor

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

// Secrets is the client that CreateOrGet needs. It cannot update.
type Secrets interface {
	Create(ctx context.Context, secret *corev1.Secret, opts metav1.CreateOptions) (*corev1.Secret, error)
	Get(ctx context.Context, name string, opts metav1.GetOptions) (*corev1.Secret, error)
}

// CreateOrGet creates wanted unless a Secret of that name exists, and returns the Secret in the
// cluster. It is the only way in which replicas agree on a shared Secret (HA-3): one Create succeeds,
// and all other replicas use what it stored. An existing Secret is never changed. Transient errors are
// retried with exponential backoff and jitter, until ctx ends.
func CreateOrGet(ctx context.Context, secrets Secrets, wanted *corev1.Secret, log *slog.Logger) (*corev1.Secret, error) {
	return retry(ctx, log, wanted.Namespace+"/"+wanted.Name, func() (*corev1.Secret, error) { return createOrGetOnce(ctx, secrets, wanted) })
}

// retry repeats a request about an object after transient errors, until ctx ends.
func retry[T any](ctx context.Context, log *slog.Logger, object string, request func() (T, error)) (T, error) {
	pause := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 30, Cap: 10 * time.Second}
	for {
		result, err := request()
		if err == nil || !transient(err) {
			return result, err
		}
		if log != nil {
			log.Info("API server does not answer, will retry", "object", object, "error", err)
		}
		if !pauseFor(ctx, pause.Step()) {
			return result, fmt.Errorf("%w; last attempt: %w", context.Cause(ctx), err)
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
		// Deleted since Create was refused: create it again.
		return nil, fmt.Errorf("get Secret %s/%s: %w: %w", wanted.Namespace, wanted.Name, errVanished, err)
	}
	if err != nil {
		return nil, fmt.Errorf("get Secret %s/%s: %w", wanted.Namespace, wanted.Name, err)
	}
	return found, nil
}

// errVanished distinguishes a Secret that was deleted between two calls from a missing namespace, which
// the API server reports with the same status.
var errVanished = errors.New("deleted between two calls")

// transient reports whether the next attempt may succeed: the error is not about the request itself.
func transient(err error) bool {
	if errors.Is(err, errVanished) {
		return true
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true // no response: the connection failed or timed out
	}
	switch status.Status().Code {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true
	}
	return status.Status().Code >= http.StatusInternalServerError
}

// pauseFor waits. It returns false if ctx ended.
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
