package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/osm-edge/osm/demo/cluster/internal/kubeapi"
	"github.com/osm-edge/osm/demo/cluster/internal/network"
	"github.com/osm-edge/osm/demo/cluster/internal/pki"
	"github.com/osm-edge/osm/demo/cluster/internal/plan"
	"github.com/osm-edge/osm/demo/cluster/internal/render"
)

const (
	poll        = 100 * time.Millisecond
	waitTimeout = 3 * time.Minute
	metricsAPI  = "v1beta1.metrics.k8s.io"
)

// Up creates what is missing and waits until the cluster works: nodes ready, names resolving, metrics available.
func (c *Cluster) Up(ctx context.Context, site Site) error {
	if err := site.save(c.State); err != nil {
		return err
	}
	if err := c.progress.Step("certificates and configuration", c.prepare); err != nil {
		return err
	}
	if err := c.progress.Step("network of the control plane", c.connectMaster); err != nil {
		return err
	}
	api, err := c.API()
	if err != nil {
		return err
	}
	work, starting := errgroup.WithContext(ctx)
	ready := make(chan struct{})
	work.Go(func() error {
		if err := c.progress.Step("etcd and API server", func() error { return c.startAPI(starting, api) }); err != nil {
			return err
		}
		close(ready)
		return c.startControllers(starting)
	})
	for _, node := range c.Plan.NodeList() {
		work.Go(func() error { return c.joinNode(starting, api, node, ready) })
	}
	if err := work.Wait(); err != nil {
		return err
	}
	return c.waitServing(ctx, api)
}

// prepare writes every file the daemons read.
func (c *Cluster) prepare() error {
	authority, err := pki.Open(c.layout.PKI(), time.Now)
	if err != nil {
		return err
	}
	if err := authority.KeyPair("service-account"); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.layout.Kubeconfig("")), 0o700); err != nil {
		return fmt.Errorf("make kubeconfig folder: %w", err)
	}
	if err := c.issue(authority); err != nil {
		return err
	}
	files, err := c.layout.MasterFiles()
	if err != nil {
		return err
	}
	if err := writeFiles(c.layout.MachineDir(c.Plan.Master()), files); err != nil {
		return err
	}
	for _, node := range c.Plan.NodeList() {
		if files, err = c.layout.NodeFiles(node); err != nil {
			return err
		}
		if err := writeFiles(c.layout.MachineDir(node), files); err != nil {
			return err
		}
	}
	return nil
}

// issue creates the certificates, and a kubeconfig for each user.
func (c *Cluster) issue(authority *pki.Authority) error {
	for _, leaf := range c.services() {
		if err := authority.Issue(leaf); err != nil {
			return err
		}
	}
	for _, leaf := range c.users() {
		if err := authority.Issue(leaf); err != nil {
			return err
		}
		if err := authority.Kubeconfig(c.layout.Kubeconfig(leaf.Name), c.Plan.Name, c.Plan.APIURL(), leaf.Name); err != nil {
			return err
		}
	}
	return nil
}

// services are the API server's own certificates: the one that it serves with, and those that it presents to
// kubelets and to aggregated APIs.
func (c *Cluster) services() []pki.Leaf {
	return []pki.Leaf{
		{
			Name: "apiserver", CommonName: "kube-apiserver",
			DNSNames:  []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + c.Plan.DNSDomain()},
			Addresses: []net.IP{net.IPv4(127, 0, 0, 1), c.Plan.Master().Addr.AsSlice(), c.Plan.APIService().AsSlice()},
		},
		{Name: "apiserver-kubelet", CommonName: "apiserver-kubelet", Organization: "system:masters"},
		{Name: "front-proxy", CommonName: "front-proxy"},
	}
}

// users have the names and groups that RBAC's built-in roles and the node authorizer expect. A node's certificate also
// serves its kubelet.
func (c *Cluster) users() []pki.Leaf {
	users := []pki.Leaf{
		{Name: render.AdminUser, CommonName: "admin", Organization: "system:masters"},
		{Name: render.ControllerUser, CommonName: "system:kube-controller-manager"},
		{Name: render.SchedulerUser, CommonName: "system:kube-scheduler"},
		{Name: render.ProxyUser, CommonName: "system:kube-proxy"},
		{Name: render.PolicyUser, CommonName: render.PolicyUser},
	}
	for _, node := range c.Plan.NodeList() {
		users = append(users, pki.Leaf{
			Name: node.Name, CommonName: "system:node:" + node.Name, Organization: "system:nodes",
			DNSNames: []string{node.Name}, Addresses: []net.IP{node.Addr.AsSlice()},
		})
	}
	return users
}

// writeFiles does not rewrite an unchanged file: kube-proxy exits when its configuration is written.
func writeFiles(dir string, files map[string][]byte) error {
	for name, content := range files {
		path := filepath.Join(dir, name)
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	return nil
}

func (c *Cluster) connectMaster() error {
	if err := network.EnsureMaster(c.Plan); err != nil {
		return err
	}
	return c.cgroups.Create(c.Plan.DaemonCgroup(c.Plan.Master()))
}

// API is a client with the admin's credentials.
func (c *Cluster) API() (*kubeapi.Client, error) {
	file := func(name string) string { return filepath.Join(c.layout.PKI(), name) }
	return kubeapi.New(c.Plan.APIURL(), kubeapi.Credentials{
		CA: file("ca.crt"), Cert: file(render.AdminUser + ".crt"), Key: file(render.AdminUser + ".key"),
	})
}

func (c *Cluster) startMaster(daemons ...render.Daemon) error {
	m := c.Plan.Master()
	for _, d := range daemons {
		if err := c.daemons.Start(c.unit(m, network.Path(c.Plan, m), d)); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) startAPI(ctx context.Context, api *kubeapi.Client) error {
	etcd, server := c.layout.Storage(), c.layout.APIServer()
	if err := c.startMaster(etcd, server); err != nil {
		return err
	}
	return c.wait(ctx, "the API server to be ready", api.Ready, etcd.Name, server.Name)
}

func (c *Cluster) startControllers(ctx context.Context) error {
	return c.progress.Step("controllers, scheduler and add-on manifests", func() error {
		if err := c.startMaster(c.layout.Controllers()...); err != nil {
			return err
		}
		manifests, err := c.layout.Addons()
		if err != nil {
			return err
		}
		return c.wait(ctx, "the add-ons' manifests to be accepted", func(ctx context.Context) error { return c.apply(ctx, manifests) }, "kube-apiserver")
	})
}

func (c *Cluster) apply(ctx context.Context, manifests []byte) error {
	cmd := exec.CommandContext(ctx, c.Programs["kubectl"], "--kubeconfig="+c.layout.Kubeconfig(render.AdminUser),
		"--cache-dir="+filepath.Join(c.dir, "kubectl"), "apply", "--server-side", "--force-conflicts", "--field-manager=osm-cluster", "-f", "-")
	cmd.Stdin = bytes.NewReader(manifests)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apply add-ons: %w: %s", err, bytes.TrimSpace(output))
	}
	return nil
}

// waitServing returns once the cluster is usable, or an error that says what is missing.
func (c *Cluster) waitServing(ctx context.Context, api *kubeapi.Client) error {
	if err := c.progress.Step("CoreDNS answers kubernetes.default", func() error {
		return c.wait(ctx, "CoreDNS to resolve kubernetes.default", c.resolve)
	}); err != nil {
		return err
	}
	return c.progress.Step("metrics API is available", func() error {
		return c.wait(ctx, "the metrics API", func(ctx context.Context) error { return api.APIAvailable(ctx, metricsAPI) })
	})
}

// resolve queries the ClusterIP, and so proves kube-proxy, the routes and CoreDNS at once. A CoreDNS pod turns
// ready some time before it knows any Service, hence the query instead of a check of the pod.
func (c *Cluster) resolve(ctx context.Context) error {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, net.JoinHostPort(c.Plan.DNSService().String(), "53"))
	}}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	addrs, err := resolver.LookupHost(ctx, "kubernetes.default.svc."+c.Plan.DNSDomain()+".")
	if err != nil {
		return err
	}
	if want := c.Plan.APIService().String(); len(addrs) != 1 || addrs[0] != want {
		return fmt.Errorf("CoreDNS answers %v instead of %s", addrs, want)
	}
	return nil
}

// wait polls condition until it returns nil. It gives up early if one of the daemons that it depends on has died.
func (c *Cluster) wait(ctx context.Context, what string, condition func(context.Context) error, daemons ...string) error {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	var last error
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		if dead := c.daemons.Died(daemons...); dead != nil {
			return fmt.Errorf("wait for %s: %w", what, dead)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, errors.Join(ctx.Err(), last))
		case <-time.After(poll):
		}
	}
}

func findNode(nodes []kubeapi.Node, node plan.Machine) (kubeapi.Node, bool) {
	for _, n := range nodes {
		if n.Name == node.Name {
			return n, true
		}
	}
	return kubeapi.Node{}, false
}
