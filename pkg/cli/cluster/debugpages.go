package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/api"
)

// DebugPage is what one controller answered at a path of its debug port.
type DebugPage[T any] struct {
	Pod   string
	At    time.Time // when it answered
	Value T
	Err   error // why it could not be asked; Value is zero then
}

// DebugPages asks controllers for one of their debug pages at the same time, for at most the given time. The pages are
// on the loopback interface of the pods, so each takes a port-forward. The results are in the order of the pods.
func DebugPages[T any](ctx context.Context, forward func(ctx context.Context, namespace, pod string, port int) (string, func(), error),
	pods []corev1.Pod, path string, within time.Duration, now func() time.Time,
) []DebugPage[T] {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("no answer within %s", within))
	defer cancel()
	pages := make([]DebugPage[T], len(pods))
	var asked sync.WaitGroup
	for i := range pods {
		pages[i].Pod = pods[i].Name
		asked.Go(func() {
			address, stop, err := forward(ctx, pods[i].Namespace, pods[i].Name, api.PortDebug)
			if err == nil {
				defer stop()
				err = askDebug(ctx, address, path, &pages[i].Value)
				pages[i].At = now()
			}
			if err != nil {
				pages[i].Err = fmt.Errorf("ask pod %s/%s for %s: %w", pods[i].Namespace, pods[i].Name, path, err)
			}
		})
	}
	asked.Wait()
	return pages
}

func askDebug(ctx context.Context, address, path string, into any) error {
	answer, err := Ask(ctx, address, path, maxPage)
	switch {
	case ctx.Err() != nil: // the cause is more informative than the failed request
		return context.Cause(ctx)
	case err != nil:
		return err
	case answer.Status != http.StatusOK:
		return errors.New(answer.StatusLine())
	}
	if err := json.Unmarshal(answer.Body, into); err != nil {
		return fmt.Errorf("decode the response: %w", err)
	}
	return nil
}
