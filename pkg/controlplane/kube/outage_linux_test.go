package kube_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/pkg/controlplane/kube"
	"github.com/osm-edge/osm/tests/realapi"
)

// TestLostConnectionIsReplaced: when packets to a real API server are lost, its connection is closed long before the
// network is back, and the change that was made meanwhile arrives on a new one. Fails with client-go's own limits, which
// add up to 45 s.
func TestLostConnectionIsReplaced(t *testing.T) {
	t.Setenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "") // restored when the test ends
	t.Setenv("HTTP2_PING_TIMEOUT_SECONDS", "")
	if err := kube.CheckConnections(); err != nil {
		t.Fatal(err)
	}
	api := realapi.Start(t)
	var link realapi.Link
	config := api.Config()
	config.Dial = link.Dial
	kube.BoundDial(config)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ignore := func() {}
	w, err := kube.New(kube.Config{
		Client: client, Dynamic: objects, MeshName: "osm", Namespace: "osm-system", Log: slog.New(slog.DiscardHandler),
		Changed: func(string) {}, MembersChanged: ignore,
	}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.Run(ctx) // ends with ctx
	}()
	t.Cleanup(func() {
		stop()
		link.Heal()
		<-ended
		link.Close()
	})
	realapi.Await(t, "everything is read", func() bool { return len(w.Waiting()) == 0 })

	link.Drop()
	start := time.Now()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "meanwhile"}}
	if _, err := api.Client(t).CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	realapi.Await(t, "the dead connections are closed", func() bool { return link.Open() == 0 })
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("the dead connections were closed after %v; want less than 30 s even on a busy machine", took)
	}
	link.Heal()
	realapi.Await(t, "the change arrives", func() bool {
		for _, ns := range w.Namespaces() {
			if ns.Name == "meanwhile" {
				return true
			}
		}
		return false
	})
}
