package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/version"
)

// reachable limits how long an API server may take to return its version before it counts as unreachable.
const reachable = 10 * time.Second

// ServerVersion asks the API server for its version, the cheapest request that shows that it is
// reachable.
func (c *Clients) ServerVersion(ctx context.Context) (*version.Info, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, reachable, fmt.Errorf("no answer within %s", reachable))
	defer cancel()
	type answer struct {
		info *version.Info
		err  error
	}
	// The discovery client takes no context.
	answers := make(chan answer, 1)
	go func() {
		info, err := c.Discovery.ServerVersion()
		answers <- answer{info, err}
	}()
	select {
	case a := <-answers:
		if a.err != nil {
			return nil, c.unreachable(a.err)
		}
		return a.info, nil
	case <-ctx.Done():
		return nil, c.unreachable(context.Cause(ctx))
	}
}

// unreachable says which server did not answer as it should, which configuration led to it, and what to do.
func (c *Clients) unreachable(err error) error {
	server := c.Config.Host
	if parsed, failed := url.Parse(server); failed == nil {
		server = parsed.Redacted()
	}
	if c.Source != "" {
		server += " (" + c.Source + ")"
	}
	switch {
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the Kubernetes API server at %s does not accept your credentials: %w", server, err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("the Kubernetes API server at %s refuses to tell its version: %w", server, err)
	case errors.As(err, new(apierrors.APIStatus)):
		return fmt.Errorf("the server at %s does not answer as a Kubernetes API server does: %w; choose another --kubeconfig or --context, or wait until it is ready", server, err)
	}
	hint := "check --kubeconfig, --context and the network"
	switch {
	case errors.As(err, new(*net.DNSError)):
		hint = "its name does not resolve: check the network or the VPN, or choose another --kubeconfig or --context"
	case errors.As(err, new(*tls.CertificateVerificationError)):
		hint = "its certificate is not one of the kubeconfig's certificate-authority: get a new kubeconfig for this cluster, or choose another --kubeconfig or --context"
	case errors.Is(err, syscall.ECONNREFUSED):
		hint = "nothing listens there: start the cluster, or choose another --kubeconfig or --context"
	}
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err // the rest is the URL again
	}
	return fmt.Errorf("cannot reach the Kubernetes API server at %s: %w; %s", server, err, hint)
}
