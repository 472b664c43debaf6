package cluster

import (
	"context"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
)

// Asker asks a pod for a page at a port.
type Asker func(ctx context.Context, pod *corev1.Pod, port int, path string) ([]byte, error)

// proxyPatience limits how long the API server may take to return a pod's response before a port-forward is tried. It
// is a small part of the time that the commands allow a pod.
const proxyPatience = time.Second

// ByProxy asks through the API server's pod proxy.
func ByProxy(client kubernetes.Interface) Asker {
	return func(ctx context.Context, pod *corev1.Pod, port int, path string) ([]byte, error) {
		return ProxyGet(ctx, client, pod, port, path)
	}
}

// Reach asks through the API server's pod proxy and, if that fails, through a port-forward. The proxy needs the weaker
// permission, but then the API server connects to the pod, and the mesh's NetworkPolicy admits it only from the
// addresses that the chart was given. A port-forward ends inside the pod, where no policy applies.
func (c *Clients) Reach(ctx context.Context, pod *corev1.Pod, port int, path string) ([]byte, error) {
	soon, cancel := context.WithTimeout(ctx, proxyPatience)
	defer cancel()
	body, err := ProxyGet(soon, c.Kube, pod, port, path)
	if err == nil || ctx.Err() != nil {
		return body, err
	}
	body, forwarded := c.forwardGet(ctx, pod, port, path)
	if forwarded != nil {
		return nil, fmt.Errorf("%w; by a port-forward: %w", err, forwarded)
	}
	return body, nil
}

func (c *Clients) forwardGet(ctx context.Context, pod *corev1.Pod, port int, path string) ([]byte, error) {
	address, stop, err := Forward(ctx, c.Config, pod.Namespace, pod.Name, port)
	if err != nil {
		return nil, err
	}
	defer stop()
	answer, err := Ask(ctx, address, path, maxPage)
	if err == nil && answer.Status != http.StatusOK {
		err = fmt.Errorf("status %s", answer.StatusLine())
	}
	if err != nil {
		return nil, fmt.Errorf("ask pod %s/%s for %s: %w", pod.Namespace, pod.Name, path, err)
	}
	return answer.Body, nil
}
