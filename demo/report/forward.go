package report

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/httpstream" //nolint:staticcheck // deprecated, but what client-go's port-forward takes
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

const (
	fetchTimeout = 10 * time.Second
	maxBody      = 4 << 20
)

// Forwarder fetches from inside pods through the API server's port-forward. The API server's
// proxy does not work: it connects to the pod from outside the mesh and is refused, while a
// port-forward connects within the pod, where nothing is redirected.
type Forwarder struct {
	Config *rest.Config
	Kube   kubernetes.Interface
}

// Fetch returns the body of a successful response.
func (f *Forwarder) Fetch(ctx context.Context, e Endpoint) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	body, err := f.fetch(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("fetch port %d%s of pod %s/%s: %w", e.Port, e.Path, e.Namespace, e.Pod, err)
	}
	return body, nil
}

func (f *Forwarder) fetch(ctx context.Context, e Endpoint) ([]byte, error) {
	dialer, err := f.dialer(e)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ready := make(chan struct{})
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", e.Port)}, ctx.Done(), ready, io.Discard, io.Discard)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case err := <-ended:
		return nil, fmt.Errorf("forward port: %w", err)
	case <-ctx.Done():
		return nil, ctx.Err() // the dialer takes no context; it ends by its own timeouts
	case <-ready:
	}
	defer func() {
		stop()
		<-ended //nolint:errcheck // it was asked to end
	}()
	ports, err := forwarder.GetPorts()
	if err != nil {
		return nil, err
	}
	return get(ctx, fmt.Sprintf("http://127.0.0.1:%d%s", ports[0].Local, e.Path))
}

// dialer connects by WebSocket, and by SPDY where the API server is too old for that.
func (f *Forwarder) dialer(e Endpoint) (httpstream.Dialer, error) {
	url := f.Kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(e.Namespace).Name(e.Pod).SubResource("portforward").URL()
	websocket, err := portforward.NewSPDYOverWebsocketDialer(url, f.Config)
	if err != nil {
		return nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(f.Config)
	if err != nil {
		return nil, err
	}
	plain := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	return portforward.NewFallbackDialer(websocket, plain, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	// One request per connection: the forwarded port is closed right after it.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxBody))
}
