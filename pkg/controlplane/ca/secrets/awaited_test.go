package secrets_test

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/controlplane/ca/secrets"
)

// reconcileStarting reconciles one account with pods that have not started, and returns its requests.
func (w *writer) reconcileStarting(t *testing.T, pods ...types.UID) []string {
	t.Helper()
	account := accounts("a")[0]
	account.Starting = pods
	_, err := w.Reconcile(t.Context(), []secrets.Account{account})
	must(t, err)
	return w.server.took()
}

// TestDeletedSecretOfStartingPod: a Secret that somebody has deleted is written again when a pod needs it, and costs
// nothing before. Fails if only time has Secrets probed.
func TestDeletedSecretOfStartingPod(t *testing.T) {
	w := newWriter(t)
	w.reconcileStarting(t)
	w.server.lose(keyA)
	w.clock.Jump(5 * time.Second)
	if got := w.reconcileStarting(t); len(got) > 0 {
		t.Errorf("without a pod: %v", got)
	}
	if got := fmt.Sprint(w.reconcileStarting(t, "pod-1")); got != "[probe "+keyA+" write "+keyA+"]" {
		t.Errorf("a pod that needs the deleted Secret: %s", got)
	}
	// It is deleted again before the kubelet has mounted it.
	w.server.lose(keyA)
	if got := w.reconcileStarting(t, "pod-1"); len(got) > 0 {
		t.Errorf("at once: %v", got)
	}
	w.clock.Jump(3 * time.Second)
	if got := fmt.Sprint(w.reconcileStarting(t, "pod-1")); got != "[probe "+keyA+" write "+keyA+"]" {
		t.Errorf("a moment later: %s", got)
	}
}

// TestStartingPodsCostLittle bounds the probes for pods that do not start for an hour, and for many that start one
// after another.
func TestStartingPodsCostLittle(t *testing.T) {
	w := newWriter(t)
	w.reconcileStarting(t)
	probes := 0
	for range 3600 {
		w.clock.Jump(time.Second)
		probes += len(w.reconcileStarting(t, "pod-1", "pod-2"))
	}
	if probes > 20 {
		t.Errorf("%d requests for pods that do not start for an hour; want 20 at the most", probes)
	}
	probes = 0
	for i := range 1000 {
		w.clock.Jump(10 * time.Millisecond)
		probes += len(w.reconcileStarting(t, types.UID(fmt.Sprint("new-", i))))
	}
	if probes > 12 {
		t.Errorf("%d requests for 1000 new pods in 10 s; want about one a second", probes)
	}
}
