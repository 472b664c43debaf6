package kube

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/osm-edge/osm/pkg/api/membership"
)

// MemberAccounts returns the ServiceAccounts in the namespaces of the mesh.
func (w *Watch) MemberAccounts() []*corev1.ServiceAccount {
	members := w.members()
	return w.accountsIn(func(namespace string) bool { return members[namespace] })
}

// StartingPods returns the UIDs of the pods of a ServiceAccount that wait for an address, in no order.
func (w *Watch) StartingPods(account *corev1.ServiceAccount) []types.UID {
	return w.starting.of(cache.ObjectName{Namespace: account.Namespace, Name: account.Name})
}

// OtherAccounts returns the ServiceAccounts outside the mesh. It omits the control plane's own namespace,
// which never holds proxies' Secrets and to which no permission applies.
func (w *Watch) OtherAccounts() []*corev1.ServiceAccount {
	members := w.members()
	return w.accountsIn(func(namespace string) bool { return !members[namespace] && namespace != w.cfg.Namespace })
}

// members returns the names of the mesh's namespaces.
func (w *Watch) members() map[string]bool {
	members := map[string]bool{}
	for _, ns := range w.Namespaces() {
		if membership.Member(ns.Labels, w.cfg.MeshName) {
			members[ns.Name] = true
		}
	}
	return members
}

func (w *Watch) accountsIn(wanted func(namespace string) bool) []*corev1.ServiceAccount {
	var accounts []*corev1.ServiceAccount
	for _, account := range w.ServiceAccounts() {
		if wanted(account.Namespace) {
			accounts = append(accounts, account)
		}
	}
	return accounts
}
