//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// cluster holds the clients of the cluster under test.
type cluster struct {
	config   *rest.Config
	kube     kubernetes.Interface
	dynamic  dynamic.Interface
	metadata metadata.Interface
}

func connect(t *testing.T, kubeconfig string) *cluster {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatalf("read %s: %v", kubeconfig, err)
	}
	config.QPS, config.Burst = 50, 100 // the inventory lists every resource at once
	config.WarningHandler = rest.NoWarnings{}
	return &cluster{
		config:   config,
		kube:     must(kubernetes.NewForConfig(config))(t),
		dynamic:  must(dynamic.NewForConfig(config))(t),
		metadata: must(metadata.NewForConfig(config))(t),
	}
}

// must returns the value, or ends the test with the error: must(f())(t).
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// osmTime limits one osm command; the commands' own limits are shorter.
const osmTime = 10 * time.Minute

// osm runs a command line as a user would, and returns what it printed.
func (s *story) osm(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), osmTime)
	defer cancel()
	begin := time.Now()
	stdout, err := s.tryOSM(ctx, args...)
	if err != nil {
		t.Fatalf("after %s: %v\n%s", since(begin), err, stdout)
	}
	t.Logf("osm %s: %s", strings.Join(args, " "), since(begin))
	return string(stdout)
}

func (s *story) tryOSM(ctx context.Context, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, s.env.osm, args...)
	command.Env = append(command.Environ(), varKubeconfig+"="+s.env.kubeconfig)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("osm %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.Bytes(), nil
}

func since(begin time.Time) time.Duration { return time.Since(begin).Round(100 * time.Millisecond) }
