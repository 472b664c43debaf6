package collect

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/pkg/controlplane/identity"
	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

const (
	// Timeout is how long a replica may take to respond.
	Timeout = 10 * time.Second
	// maxResponse is the maximum size of a response: about 500 bytes for each proxy.
	maxResponse = 64 << 20
	// clientLifetime is the lifetime of the client certificate.
	clientLifetime = time.Hour
)

// Collector collects evidence. All fields but the ports are required.
type Collector struct {
	Client          kubernetes.Interface
	Namespace, Mesh string
	TrustDomain     identity.TrustDomain
	// Roots sign the client certificate, and verify the servers.
	Roots ca.Authority
	// Self is the pod of this replica, whose evidence Own returns.
	Self string
	Own  func(context.Context) rotation.Replica
	// Port is the evidence port of controllers, and WebhookPort the port of injectors; zero means
	// api.PortEvidence and api.PortWebhook.
	Port, WebhookPort int
	Now               func() time.Time

	// cert is the client certificate, and signer the CA that signed it.
	cert   *ca.Leaf
	signer string
}

// Collect asks all replicas at the same time. A replica that does not respond is in the evidence with an
// error. Collect fails only if the replicas cannot be listed or no client certificate can be issued.
// It is not safe for concurrent use.
func (c *Collector) Collect(ctx context.Context) (rotation.Evidence, error) {
	pods, err := c.pods(ctx)
	if err != nil {
		return rotation.Evidence{}, err
	}
	client, err := c.httpClient(ctx)
	if err != nil {
		return rotation.Evidence{}, err
	}
	defer client.CloseIdleConnections()
	evidence := rotation.Evidence{Replicas: make([]rotation.Replica, len(pods))}
	var asked sync.WaitGroup
	for i := range pods {
		asked.Go(func() { evidence.Replicas[i] = c.replica(ctx, client, &pods[i]) })
	}
	evidence.Webhooks = []rotation.Webhook{c.webhook(ctx)}
	asked.Wait()
	evidence.Now = c.Now()
	return evidence, nil
}

// pods are the pods of the control plane, including those that are terminating.
func (c *Collector) pods(ctx context.Context) ([]corev1.Pod, error) {
	list, err := c.Client.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: api.LabelApp + " in (" + api.AppController + "," + api.AppInjector + ")," + api.LabelInstance + "=" + c.Mesh,
	})
	if err != nil {
		return nil, fmt.Errorf("list the control plane's pods in namespace %s: %w", c.Namespace, err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	}), nil
}

// replica is the evidence of one replica, under the name of its pod.
func (c *Collector) replica(ctx context.Context, client *http.Client, pod *corev1.Pod) rotation.Replica {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	var r rotation.Replica
	var err error
	switch {
	case pod.Name == c.Self:
		r = c.Own(ctx)
	case pod.Labels[api.LabelApp] == api.AppInjector:
		r, err = c.injector(ctx, pod)
	default:
		r, err = c.ask(ctx, client, pod)
	}
	if err != nil {
		r = rotation.Replica{Error: err.Error(), At: c.Now()}
	}
	r.Name, r.Component = pod.Name, rotation.Component(pod.Labels[api.LabelApp])
	return r
}

func (c *Collector) ask(ctx context.Context, client *http.Client, pod *corev1.Pod) (r rotation.Replica, err error) {
	if pod.Status.PodIP == "" {
		return r, errors.New("its pod has no address yet")
	}
	body, err := c.get(ctx, client, pod.Status.PodIP, Path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fmt.Errorf("decode its evidence: %w", err)
	}
	return r, nil
}

// get requests a page of the controller at an IP address.
func (c *Collector) get(ctx context.Context, client *http.Client, ip, path string) ([]byte, error) {
	// The server's certificate is verified for this host.
	url := "https://" + api.AppController + "." + c.Namespace + ".svc" + path
	ctx = context.WithValue(ctx, addressKey{}, net.JoinHostPort(ip, strconv.Itoa(cmp.Or(c.Port, api.PortEvidence))))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

// injector is the evidence of an injector: the CA of the certificate that its webhook presents. An
// injector holds no root.
func (c *Collector) injector(ctx context.Context, pod *corev1.Pod) (rotation.Replica, error) {
	if pod.Status.PodIP == "" {
		return rotation.Replica{}, errors.New("its pod has no address yet")
	}
	trust := c.Roots.Trust()
	dialer := &tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: trust.Pool(), ServerName: api.InjectorHost(c.Namespace)}}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(cmp.Or(c.WebhookPort, api.PortWebhook))))
	if err != nil {
		return rotation.Replica{}, fmt.Errorf("read the certificate of its webhook: %w", err)
	}
	defer conn.Close()
	served, ok := conn.(*tls.Conn)
	if !ok {
		return rotation.Replica{}, errors.New("its webhook does not use TLS")
	}
	return rotation.Replica{Serving: trust.SignerOf(served.ConnectionState().PeerCertificates), At: c.Now()}, nil
}

// addressKey is the context key of the address that a request is sent to.
type addressKey struct{}

// clientCert returns the client certificate, which proves that the client is a controller. It is renewed when it
// is due or a different CA signs. While renewal fails, the last one is used until it expires.
func (c *Collector) clientCert(ctx context.Context) (*ca.Leaf, error) {
	now, signer := c.Now(), c.Roots.Trust().Fingerprint
	if c.cert != nil && c.signer == signer && now.Before(c.cert.RenewAt) {
		return c.cert, nil
	}
	leaf, err := c.Roots.Issue(ctx, ca.Request{
		Identity: identity.Identity{Namespace: c.Namespace, ServiceAccount: api.AppController}, TTL: clientLifetime, Usage: ca.UsageProxy,
	})
	switch {
	case err == nil:
		c.cert, c.signer = leaf, signer
	case c.cert == nil || !now.Before(c.cert.NotAfter):
		return nil, fmt.Errorf("issue the certificate that collects evidence: %w", err)
	}
	return c.cert, nil
}

// httpClient presents the client certificate and accepts servers that the current roots trust. It keeps
// no connection, since roots change.
func (c *Collector) httpClient(ctx context.Context) (*http.Client, error) {
	leaf, err := c.clientCert(ctx)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{}
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: c.Roots.Trust().Pool(), Certificates: []tls.Certificate{leaf.TLS()}},
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			address, ok := ctx.Value(addressKey{}).(string)
			if !ok {
				return nil, errors.New("a request without an address")
			}
			return dialer.DialContext(ctx, network, address)
		},
	}}, nil
}

// webhook is the bundle by which the API server verifies injectors.
func (c *Collector) webhook(ctx context.Context) rotation.Webhook {
	w := rotation.Webhook{Name: api.WebhookNamePrefix + c.Mesh}
	config, err := c.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, w.Name, metav1.GetOptions{})
	w.At = c.Now()
	if err != nil {
		w.Error = err.Error()
		return w
	}
	for i := range config.Webhooks {
		trusts := ca.Trust{Bundle: config.Webhooks[i].ClientConfig.CABundle}.Fingerprints()
		if i == 0 {
			w.Trusts = trusts
			continue
		}
		w.Trusts = slices.DeleteFunc(w.Trusts, func(root string) bool { return !slices.Contains(trusts, root) })
	}
	return w
}
