package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// Forward forwards a free port on 127.0.0.1 to a port of a pod. It returns the local address; stop ends
// the forwarding and must be called.
func Forward(ctx context.Context, config *rest.Config, namespace, pod string, port int) (address string, stop func(), err error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	url := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return "", nil, fmt.Errorf("prepare a port-forward to pod %s/%s: %w", namespace, pod, err)
	}
	overSPDY := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	overWebsocket, err := portforward.NewSPDYOverWebsocketDialer(url, config)
	if err != nil {
		return "", nil, fmt.Errorf("prepare a port-forward to pod %s/%s: %w", namespace, pod, err)
	}
	dialer := portforward.NewFallbackDialer(overWebsocket, overSPDY, func(err error) bool { return err != nil })

	stopped, ready := make(chan struct{}), make(chan struct{})
	stop = sync.OnceFunc(func() { close(stopped) })
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, stopped, ready, io.Discard, io.Discard)
	if err != nil {
		return "", nil, fmt.Errorf("prepare a port-forward to pod %s/%s: %w", namespace, pod, err)
	}
	failed := make(chan error, 1)
	go func() { failed <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-failed:
		return "", nil, fmt.Errorf("forward a port to pod %s/%s: %w", namespace, pod, err)
	case <-ctx.Done():
		stop()
		return "", nil, fmt.Errorf("forward a port to pod %s/%s: %w", namespace, pod, context.Cause(ctx))
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("forward a port to pod %s/%s: %w", namespace, pod, err)
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0].Local), stop, nil
}

// ProxyGet sends a GET request to a pod through the API server's pod proxy: no port is opened, and only
// permission to "get" pods/proxy is needed. At most maxPage bytes are read.
func ProxyGet(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, port int, path string) ([]byte, error) {
	ctx = context.WithValue(ctx, fromPod{}, true)
	body, err := client.CoreV1().RESTClient().Get().Namespace(pod.Namespace).Resource("pods").
		Name(fmt.Sprintf("http:%s:%d", pod.Name, port)).SubResource("proxy").Suffix(path).Do(ctx).Raw()
	if err != nil {
		return nil, fmt.Errorf("ask pod %s/%s for %s: %w%s", pod.Namespace, pod.Name, path, err, said(body, err))
	}
	return body, nil
}

// said is the message that came with an error of the pod proxy: only it says that nothing listens on the
// port, or that the node is unreachable. The client keeps a text in the error's causes, anything else as
// the body.
func said(body []byte, err error) string {
	var failure *apierrors.StatusError
	text := ""
	if errors.As(err, &failure) && failure.ErrStatus.Details != nil {
		for _, cause := range failure.ErrStatus.Details.Causes {
			if cause.Type == metav1.CauseTypeUnexpectedServerResponse && cause.Message != "unknown" {
				text = cause.Message
			}
		}
	}
	var status metav1.Status
	if json.Unmarshal(body, &status) == nil && status.Message != "" {
		text = status.Message
	}
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if line == "" {
		return ""
	}
	return ": " + line[:min(200, len(line))]
}
