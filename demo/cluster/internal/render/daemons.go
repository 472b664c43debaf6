package render

import (
	"path/filepath"
	"strings"

	"github.com/osm-edge/osm/demo/cluster/internal/plan"
)

// Users with a kubeconfig of their own; each node has one more, under its own name.
const (
	AdminUser      = "admin"
	ControllerUser = "kube-controller-manager"
	SchedulerUser  = "kube-scheduler"
	ProxyUser      = "kube-proxy"
	PolicyUser     = "network-policies"
)

// Daemon is one program with its arguments.
type Daemon struct {
	// Name is unique in the cluster: "etcd", "node-1-kubelet".
	Name string
	Argv []string
}

// Storage is etcd, on the loopback of the control plane's namespace only. Losing a throw-away cluster in a power
// failure costs nothing, so it does not wait for the disk.
func (l Layout) Storage() Daemon {
	return l.daemon("etcd", "etcd",
		"--data-dir="+filepath.Join(l.MachineDir(l.Plan.Master()), "etcd"),
		"--unsafe-no-fsync",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=default=http://127.0.0.1:2380",
	)
}

// APIServer makes the aggregator route by endpoints, so that metrics-server can be reached even while the control
// plane's kube-proxy is starting.
func (l Layout) APIServer() Daemon {
	pki := func(file string) string { return filepath.Join(l.PKI(), file) }
	return l.daemon("kube-apiserver", "kube-apiserver",
		"--etcd-servers=http://127.0.0.1:2379",
		"--secure-port=6443", "--advertise-address="+l.Plan.Master().Addr.String(),
		"--service-cluster-ip-range="+l.Plan.ServiceNetwork().String(),
		"--allow-privileged=true", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--tls-cert-file="+pki("apiserver.crt"), "--tls-private-key-file="+pki("apiserver.key"), "--client-ca-file="+pki("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc."+l.Plan.DNSDomain(),
		"--service-account-key-file="+pki("service-account.pub"), "--service-account-signing-key-file="+pki("service-account.key"),
		"--kubelet-client-certificate="+pki("apiserver-kubelet.crt"), "--kubelet-client-key="+pki("apiserver-kubelet.key"),
		"--kubelet-preferred-address-types=InternalIP", // nodes' names do not resolve
		"--enable-aggregator-routing=true",
		"--requestheader-client-ca-file="+pki("ca.crt"), "--requestheader-allowed-names=front-proxy",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file="+pki("front-proxy.crt"), "--proxy-client-key-file="+pki("front-proxy.key"),
		"--audit-policy-file="+filepath.Join(l.MachineDir(l.Plan.Master()), auditPolicy), "--audit-log-path="+l.AuditLog(),
		"--profiling=false",
	)
}

// AuditLog is where the API server logs the requests of ServiceAccounts.
func (l Layout) AuditLog() string { return filepath.Join(l.Dir, "log", "audit.log") }

// Controllers are the daemons that need an API server to start. The autoscaler is configured to trust young pods early,
// so that users see live numbers within seconds.
func (l Layout) Controllers() []Daemon {
	manager := l.daemon("kube-controller-manager", "kube-controller-manager",
		"--kubeconfig="+l.Kubeconfig(ControllerUser), "--use-service-account-credentials=true", "--leader-elect=false",
		"--service-account-private-key-file="+filepath.Join(l.PKI(), "service-account.key"),
		"--root-ca-file="+filepath.Join(l.PKI(), "ca.crt"),
		"--cluster-signing-cert-file="+filepath.Join(l.PKI(), "ca.crt"), "--cluster-signing-key-file="+filepath.Join(l.PKI(), "ca.key"),
		"--flex-volume-plugin-dir="+filepath.Join(l.MachineDir(l.Plan.Master()), "volumeplugins"), // else made below /usr
		"--allocate-node-cidrs=false", // pod subnets are planned, not allocated
		"--node-monitor-period=2s", "--node-monitor-grace-period=20s",
		"--horizontal-pod-autoscaler-sync-period=5s", "--horizontal-pod-autoscaler-initial-readiness-delay=5s",
		"--horizontal-pod-autoscaler-cpu-initialization-period=10s",
		"--profiling=false",
	)
	scheduler := l.daemon("kube-scheduler", "kube-scheduler",
		"--kubeconfig="+l.Kubeconfig(SchedulerUser), "--leader-elect=false", "--profiling=false")
	proxy := l.daemon("master-kube-proxy", "kube-proxy",
		"--config="+filepath.Join(l.MachineDir(l.Plan.Master()), "kube-proxy.yaml"))
	return []Daemon{manager, scheduler, proxy}
}

// Containerd is the container runtime of node.
func (l Layout) Containerd(node plan.Machine) Daemon {
	return l.daemon(node.Name+"-containerd", "containerd", "--config="+filepath.Join(l.MachineDir(node), "containerd.toml"))
}

// NodeAgents are the daemons of node that need its containerd and the API server.
func (l Layout) NodeAgents(node plan.Machine) []Daemon {
	dir := l.MachineDir(node)
	zone := "zone-" + strings.TrimPrefix(node.Name, "node-")
	kubelet := l.daemon(node.Name+"-kubelet", "kubelet",
		"--config="+filepath.Join(dir, "kubelet.yaml"), "--kubeconfig="+l.Kubeconfig(node.Name),
		"--hostname-override="+node.Name, "--node-ip="+node.Addr.String(),
		"--node-labels=topology.kubernetes.io/zone="+zone,
		"--root-dir="+filepath.Join(dir, "kubelet"), "--cert-dir="+filepath.Join(dir, "kubelet", "pki"),
	)
	proxy := l.daemon(node.Name+"-kube-proxy", "kube-proxy", "--config="+filepath.Join(dir, "kube-proxy.yaml"))
	policies := l.daemon(node.Name+"-network-policies", "network-policies", "--kubeconfig="+l.Kubeconfig(PolicyUser), "--node="+node.Name)
	return []Daemon{kubelet, proxy, policies}
}

// NodeDaemons is every daemon of node, in the order of their start.
func (l Layout) NodeDaemons(node plan.Machine) []Daemon {
	return append([]Daemon{l.Containerd(node)}, l.NodeAgents(node)...)
}

// MasterDaemons is every daemon of the control plane, in the order of their start.
func (l Layout) MasterDaemons() []Daemon {
	return append([]Daemon{l.Storage(), l.APIServer()}, l.Controllers()...)
}

func (l Layout) daemon(name, program string, args ...string) Daemon {
	path := l.Programs[program]
	if path == "" {
		path = program
	}
	return Daemon{Name: name, Argv: append([]string{path}, args...)}
}
