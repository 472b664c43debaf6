package kube

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// TestStarting follows the pods of an account from their creation to their first address.
func TestStarting(t *testing.T) {
	s, changes := newStarting(), 0
	handler := s.handler(func() { changes++ })
	pod := func(name, uid, address string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(uid)}, Spec: corev1.PodSpec{ServiceAccountName: "web"}}
		if address != "" {
			p.Status.PodIPs = []corev1.PodIP{{IP: address}}
		}
		return p
	}
	expect := func(what string, wantChanges int, want ...types.UID) {
		t.Helper()
		got := s.of(cache.ObjectName{Namespace: "shop", Name: "web"})
		if slices.Sort(got); !slices.Equal(got, want) || changes != wantChanges {
			t.Errorf("%s: %v and %d changes, want %v and %d", what, got, changes, want, wantChanges)
		}
	}
	handler.OnAdd(pod("running", "0", "10.0.0.1"), true)
	expect("a pod that runs", 0)
	handler.OnAdd(pod("a", "1", ""), false)
	handler.OnAdd(pod("b", "2", ""), false)
	expect("two new pods", 2, "1", "2")
	handler.OnUpdate(nil, pod("a", "1", ""))
	expect("the same again", 2, "1", "2")
	handler.OnUpdate(nil, pod("a", "3", ""))
	expect("another pod of the same name", 3, "2", "3")
	handler.OnUpdate(nil, pod("a", "3", "10.0.0.2"))
	expect("a pod with an address", 3, "2")
	failed := pod("b", "2", "")
	failed.Status.Phase = corev1.PodFailed
	handler.OnUpdate(nil, failed)
	expect("a pod that failed", 3)
	handler.OnAdd(pod("c", "4", ""), false)
	handler.OnDelete(cache.DeletedFinalStateUnknown{Key: "shop/c", Obj: pod("c", "4", "")})
	expect("a pod that was deleted", 4)
	if len(s.accounts)+len(s.pods) > 0 {
		t.Errorf("pods are kept that are gone: %v, %v", s.accounts, s.pods)
	}
}
