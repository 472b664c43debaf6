package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// ServiceNetwork is the range of ClusterIPs in a Cluster.
const ServiceNetwork = "10.96.0.0/16"

// startup limits the start of each process.
const startup = 2 * time.Minute

// Cluster is an API server with its storage. It has no nodes and no controllers: what these would
// write, the simulator writes.
type Cluster struct {
	// Kubeconfig is an administrator's kubeconfig file.
	Kubeconfig string
	// REST is the same for this process; it has no rate limit of its own.
	REST *rest.Config

	dir     string
	etcd    *Process
	apiserv *Process
}

// StartCluster starts etcd and kube-apiserver with everything they keep in dir.
func StartCluster(ctx context.Context, dir string, programs Programs) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, startup)
	defer cancel()
	c := &Cluster{dir: dir, Kubeconfig: filepath.Join(dir, "kubeconfig")}
	ports, err := FreePorts(3)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(c.startEtcd(ctx, programs.Etcd, ports[0], ports[1])); err != nil {
		c.Stop()
		return nil, err
	}
	if err := c.startAPIServer(ctx, programs.APIServer, ports[0], ports[2]); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// Stop ends both processes.
func (c *Cluster) Stop() {
	for _, p := range []*Process{c.apiserv, c.etcd} {
		if p != nil {
			p.Kill() // they need no orderly shutdown
		}
	}
}

// startEtcd starts etcd, which does not wait for the disk: the data is not needed after the run.
func (c *Cluster) startEtcd(ctx context.Context, program string, port, peer int) error {
	url, peers := fmt.Sprintf("http://127.0.0.1:%d", port), fmt.Sprintf("http://127.0.0.1:%d", peer)
	var err error
	c.etcd, err = Start("etcd", c.dir, program, "--data-dir="+filepath.Join(c.dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls="+url, "--advertise-client-urls="+url, "--listen-peer-urls="+peers,
		"--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers,
		"--quota-backend-bytes=8000000000", "--snapshot-count=10000", "--log-level=warn")
	if err != nil {
		return err
	}
	return c.etcd.await(ctx, "etcd", func(ctx context.Context) error {
		_, err := get(ctx, url+"/health")
		return err
	})
}

func (c *Cluster) startAPIServer(ctx context.Context, program string, etcd, port int) error {
	root, err := NewAuthority("sim-kubernetes")
	if err != nil {
		return err
	}
	serving, err := root.loopback("kube-apiserver")
	if err != nil {
		return err
	}
	cert, key, err := store(c.dir, "kube-apiserver", serving)
	if err != nil {
		return err
	}
	tokens := filepath.Join(c.dir, "tokens.csv")
	token, err := c.admin(tokens)
	if err != nil {
		return err
	}
	if err := c.writeKubeconfig(root, port, token); err != nil {
		return err
	}
	c.apiserv, err = Start("kube-apiserver", c.dir, program,
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", etcd), "--etcd-compaction-interval=1m",
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), "--endpoint-reconciler-type=none",
		"--cert-dir="+c.dir, "--tls-cert-file="+cert, "--tls-private-key-file="+key,
		"--token-auth-file="+tokens, "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-signing-key-file="+key,
		"--service-account-key-file="+cert,
		"--service-cluster-ip-range="+ServiceNetwork, "--disable-admission-plugins=ServiceAccount", "--profiling=false")
	if err != nil {
		return err
	}
	return c.apiserv.await(ctx, "kube-apiserver", c.ready)
}

// admin writes the file of the only user: a member of system:masters, whose requests the API server does not
// queue behind others.
func (c *Cluster) admin(file string) (token string, err error) {
	token, err = randomToken()
	if err != nil {
		return "", err
	}
	line := token + `,sim,sim,"system:masters"` + "\n"
	if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
		return "", fmt.Errorf("write the API server's users: %w", err)
	}
	return token, nil
}

func (c *Cluster) writeKubeconfig(root *Authority, port int, token string) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["sim"] = &clientcmdapi.Cluster{Server: fmt.Sprintf("https://127.0.0.1:%d", port), CertificateAuthorityData: root.Bundle()}
	config.AuthInfos["sim"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["sim"] = &clientcmdapi.Context{Cluster: "sim", AuthInfo: "sim"}
	config.CurrentContext = "sim"
	if err := clientcmd.WriteToFile(*config, c.Kubeconfig); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	loaded, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	loaded.QPS, loaded.Burst = -1, 0
	c.REST = loaded
	return nil
}

func (c *Cluster) ready(ctx context.Context) error {
	client, err := rest.HTTPClientFor(c.REST)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return answersOK(ctx, client, c.REST.Host+"/readyz")
}

// FreePorts returns unused ports of 127.0.0.1. All are held until all are
// known, so that no two are the same.
func FreePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it returns at once
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		if at, ok := l.Addr().(*net.TCPAddr); ok {
			ports = append(ports, at.Port)
		}
	}
	return ports, nil
}
