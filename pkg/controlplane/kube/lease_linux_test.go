package kube_test

import (
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osm-edge/osm/tests/realapi"
)

// TestDeletedLease is TestOneLeader on a real API server.
func TestDeletedLease(t *testing.T) {
	api := realapi.Start(t)
	client := api.Client(t)
	var leading leaders
	stop := leading.elect(t, func() kubernetes.Interface { return api.Client(t) }, "first", "second")
	defer stop()
	await := func(what string) {
		t.Helper()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(2 * time.Minute); ; <-tick.C {
			if now, _ := leading.get(); now == 1 {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: not within 2 minutes", what)
			}
		}
	}
	await("the first leader")

	// Longer than a leader that cannot renew goes on.
	deleting := time.NewTicker(100 * time.Millisecond)
	defer deleting.Stop()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-deleting.C {
		err := client.CoordinationV1().Leases("default").Delete(t.Context(), "leader", metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	await("a leader after the last deletion")
	if _, most := leading.get(); most > 1 {
		t.Errorf("%d replicas led at once", most)
	}
}
