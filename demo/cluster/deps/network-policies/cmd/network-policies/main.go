// Command network-policies enforces NetworkPolicies on one node of the local cluster.
//
// sigs.k8s.io/kube-network-policies decides what a policy allows. That project's own program is not used, for two
// reasons. It runs only as a pod, whereas here it is a daemon beside kube-proxy. And it gets packets through the
// nftables statement "queue", which kernels without CONFIG_NFT_QUEUE refuse; the older target NFQUEUE of iptables does
// the same and needs only the queue itself. On a kernel with both, each packet gets two equal verdicts.
//
// While this program does not run, the node forwards no new connection.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

const (
	queue = 100
	chain = "NETWORK-POLICIES"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig file for the API server")
	node := flag.String("node", "", "name of this node")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *kubeconfig, *node)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "network-policies: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, node string) error {
	if node == "" {
		return errors.New("--node is empty: it takes the name of this node, such as node-1")
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("read %s: %w", kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	// First, so that nothing passes before the policies are known.
	if err := queuePackets(ctx); err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	enforcer, err := networkpolicy.NewController(
		client, factory.Networking().V1().NetworkPolicies(), factory.Core().V1().Namespaces(), factory.Core().V1().Pods(),
		nil, nil, nil, nil, // AdminNetworkPolicies, which this cluster does not have
		networkpolicy.Config{QueueID: queue, NodeName: node},
	)
	if err != nil {
		return fmt.Errorf("make the enforcer: %w", err)
	}
	factory.Start(ctx.Done())
	if err := enforcer.Run(ctx); err != nil {
		return fmt.Errorf("enforce: %w", err)
	}
	return nil
}

// queuePackets queues the first packet of every connection for a verdict, after kube-proxy has chosen the endpoint
// and before anything could rewrite the source. The node's own daemons may connect to its pods, as kubelets must.
func queuePackets(ctx context.Context) error {
	rules := [][]string{
		{"-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "RETURN"},
		{"-m", "owner", "--uid-owner", "0", "-j", "RETURN"},
		{"-j", "NFQUEUE", "--queue-num", strconv.Itoa(queue)},
	}
	if iptables(ctx, "-F", chain) != nil {
		if err := iptables(ctx, "-N", chain); err != nil {
			return err
		}
	}
	for _, rule := range rules {
		if err := iptables(ctx, append([]string{"-A", chain}, rule...)...); err != nil {
			return err
		}
	}
	if iptables(ctx, "-C", "POSTROUTING", "-j", chain) == nil {
		return nil
	}
	return iptables(ctx, "-A", "POSTROUTING", "-j", chain)
}

func iptables(ctx context.Context, args ...string) error {
	args = append([]string{"--wait", "--table", "mangle"}, args...)
	if output, err := exec.CommandContext(ctx, "iptables", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("iptables %v: %w: %s", args, err, output)
	}
	return nil
}
