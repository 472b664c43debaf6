package kube

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// starting are the pods that have no address yet. The kubelet gives a pod one when it has mounted its Secrets, so these
// are the pods that a missing Secret keeps from starting.
type starting struct {
	mu       sync.Mutex
	accounts map[cache.ObjectName]cache.ObjectName               // by pod
	pods     map[cache.ObjectName]map[cache.ObjectName]types.UID // by account, then by pod
}

func newStarting() *starting {
	return &starting{accounts: map[cache.ObjectName]cache.ObjectName{}, pods: map[cache.ObjectName]map[cache.ObjectName]types.UID{}}
}

// set notes the state of a pod, and reports whether it has begun to start.
func (s *starting) set(pod *corev1.Pod) (begun bool) {
	name := cache.ObjectName{Namespace: pod.Namespace, Name: pod.Name}
	s.mu.Lock()
	defer s.mu.Unlock()
	account, known := s.accounts[name]
	switch {
	case len(pod.Status.PodIPs) > 0 || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		s.forget(name)
		return false
	case known && s.pods[account][name] == pod.UID:
		return false
	}
	s.forget(name)
	account = cache.ObjectName{Namespace: pod.Namespace, Name: pod.Spec.ServiceAccountName}
	s.accounts[name] = account
	if s.pods[account] == nil {
		s.pods[account] = map[cache.ObjectName]types.UID{}
	}
	s.pods[account][name] = pod.UID
	return true
}

func (s *starting) remove(name cache.ObjectName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(name)
}

func (s *starting) forget(name cache.ObjectName) {
	account := s.accounts[name]
	delete(s.accounts, name)
	if delete(s.pods[account], name); len(s.pods[account]) == 0 {
		delete(s.pods, account)
	}
}

// of returns the UIDs of an account's pods, in no order.
func (s *starting) of(account cache.ObjectName) []types.UID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var uids []types.UID
	for _, uid := range s.pods[account] {
		uids = append(uids, uid)
	}
	return uids
}

// handler follows pods and calls changed after one has begun to start.
func (s *starting) handler(changed func()) cache.ResourceEventHandler {
	set := func(object any) {
		if pod, ok := object.(*corev1.Pod); ok && s.set(pod) {
			changed()
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, after any) { set(after) },
		DeleteFunc: func(object any) {
			name, err := cache.DeletionHandlingObjectToName(object)
			must(err)
			s.remove(name)
		},
	}
}
