package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"
)

// Without a kubeconfig, osm uses the ServiceAccount of the pod that it runs in. The place of its token is fixed, so the
// test runs itself again where it may mount one there.
func TestInCluster(t *testing.T) {
	if os.Getenv("IN_POD") == "" {
		again := exec.Command(os.Args[0], "-test.run=^TestInCluster$", "-test.v")
		again.Env = append(os.Environ(), "IN_POD=1")
		again.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		if err := again.Start(); err != nil {
			t.Skipf("no namespaces: %v", err)
		}
		if err := again.Wait(); err != nil {
			t.Errorf("in a pod: %v; run it with IN_POD=1 in a mount namespace to see more", err)
		}
		return
	}
	run, err := filepath.EvalSymlinks("/var/run")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", run, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	const account = "/var/run/secrets/kubernetes.io/serviceaccount"
	if err := os.MkdirAll(account, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(account, "token"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")
	clients, err := NewClients(genericclioptions.NewConfigFlags(false))
	if err != nil {
		t.Fatal(err)
	}
	if clients.Config.Host != "https://10.96.0.1:443" || clients.Source != "the ServiceAccount of this pod" {
		t.Errorf("host %s, source %q", clients.Config.Host, clients.Source)
	}
}
