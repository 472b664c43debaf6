// Package kubeapi makes the few API server queries that `up` and `status` need. It is not a Kubernetes client:
// everything else goes through kubectl. Invariant: it only reads.
package kubeapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

const timeout = 5 * time.Second

// Client is a client of one API server.
type Client struct {
	server string
	http   *http.Client
}

// Credentials are PEM files.
type Credentials struct{ CA, Cert, Key string }

// Node is the part of a node that `status` shows.
type Node struct {
	Name          string `json:"name"`
	Ready         bool   `json:"ready"`
	Unschedulable bool   `json:"unschedulable"`
}

type condition struct{ Type, Status string }

func holds(conditions []condition, kind string) bool {
	for _, c := range conditions {
		if c.Type == kind {
			return c.Status == "True"
		}
	}
	return false
}

// New makes a client of server (https://host:port).
func New(server string, with Credentials) (*Client, error) {
	pair, err := tls.LoadX509KeyPair(with.Cert, with.Key)
	if err != nil {
		return nil, fmt.Errorf("load credentials for %s: %w", server, err)
	}
	ca, err := os.ReadFile(with.CA)
	if err != nil {
		return nil, fmt.Errorf("load credentials for %s: %w", server, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("load credentials for %s: no certificate in %s", server, with.CA)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{pair}}
	// No proxy: the server's address exists only on this machine.
	return &Client{server: server, http: &http.Client{Timeout: timeout, Transport: &http.Transport{TLSClientConfig: config}}}, nil
}

// Ready returns nil once the API server is ready.
func (c *Client) Ready(ctx context.Context) error { return c.read(ctx, "/readyz", nil) }

// Nodes lists the nodes in the order of the API.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct{ Unschedulable bool }
			Status   struct{ Conditions []condition }
		}
	}
	if err := c.read(ctx, "/api/v1/nodes", &list); err != nil {
		return nil, err
	}
	nodes := make([]Node, 0, len(list.Items))
	for _, item := range list.Items {
		nodes = append(nodes, Node{item.Metadata.Name, holds(item.Status.Conditions, "Ready"), item.Spec.Unschedulable})
	}
	return nodes, nil
}

// KubeletAnswers returns nil if the API server reaches the node's kubelet. A node's Ready condition alone would not
// show it: it stays true for a while after the kubelet has died.
func (c *Client) KubeletAnswers(ctx context.Context, node string) error {
	return c.read(ctx, "/api/v1/nodes/"+node+"/proxy/healthz", nil)
}

// APIAvailable returns nil once the API server reaches the aggregated API called name.
func (c *Client) APIAvailable(ctx context.Context, name string) error {
	var service struct {
		Status struct{ Conditions []condition }
	}
	if err := c.read(ctx, "/apis/apiregistration.k8s.io/v1/apiservices/"+name, &service); err != nil {
		return err
	}
	if !holds(service.Status.Conditions, "Available") {
		return errors.New("APIService " + name + " is not available yet")
	}
	return nil
}

func (c *Client) read(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+path, nil)
	if err != nil {
		return fmt.Errorf("query API server: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("query API server: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read response to %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("API server responds %s to %s", resp.Status, path)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("read response to %s: %w", path, err)
	}
	return nil
}
