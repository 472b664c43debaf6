package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
)

// Asker asks a pod for a page at a port.
type Asker func(ctx context.Context, pod *corev1.Pod, port int, path string) ([]byte, error)

// proxyPatience is how long the API server may take to bring an answer of a pod before another way is tried: it fills a
// small part of what the commands grant a pod.
const proxyPatience = time.Second

// maxPage is how much a pod may answer, in bytes: pages of metrics are far smaller.
const maxPage = 32 << 20

// ByProxy asks by way of the API server's pod proxy.
func ByProxy(client kubernetes.Interface) Asker {
	return func(ctx context.Context, pod *corev1.Pod, port int, path string) ([]byte, error) {
		return ProxyGet(ctx, client, pod, port, path)
	}
}

// Reach asks by way of the API server's pod proxy, and if that fails by a port-forward. The proxy needs less of a right,
// but it connects to the pod from the API server, whom the mesh's NetworkPolicy lets in only at the addresses that the
// chart was given. A port-forward ends inside the pod, where no policy counts.
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
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask pod %s/%s for %s: %w", pod.Namespace, pod.Name, path, err)
	}
	// Once and straight: no redirect is followed.
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("ask pod %s/%s for %s: %w", pod.Namespace, pod.Name, path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxPage))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", response.Status)
	}
	if err != nil {
		return nil, fmt.Errorf("ask pod %s/%s for %s: %w", pod.Namespace, pod.Name, path, err)
	}
	return body, nil
}
