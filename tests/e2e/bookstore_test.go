//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/demo/bookstore"
	"github.com/osm-edge/osm/demo/manifests"
	"github.com/osm-edge/osm/demo/report"
)

const pagePort = 8080

// bookstore deploys the demo as users do: books must be sold, and every server must learn from its
// proxy who the caller is.
func (s *story) bookstore(t *testing.T) {
	objects := must(manifests.Objects(s.env.demo))(t)
	namespaces := must(manifests.Namespaces())(t)
	st := s.stage()
	add := []string{"namespace", "add"}
	for _, namespace := range namespaces {
		s.namespace(t, namespace.GetName())
		t.Cleanup(func() { s.deleteNamespace(t, namespace.GetName()) })
		add = append(add, namespace.GetName())
	}
	s.osm(t, add...)
	if err := st.Apply(t.Context(), objects); err != nil {
		t.Fatal(err)
	}
	if err := st.WaitRolledOut(t.Context(), objects, podTime); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		namespace, server string
		clients           []app // one of which is enough: which store sells is for the balancer to decide
	}{
		{"bookstore", "bookstore-v1", []app{{namespace: "bookbuyer", name: "bookbuyer"}}},
		{"bookstore", "bookstore-v1", []app{{namespace: "bookthief", name: "bookthief"}}},
		{"bookstore", "bookstore-v2", []app{{namespace: "bookbuyer", name: "bookbuyer"}}},
		{"bookstore", "bookstore-v2", []app{{namespace: "bookthief", name: "bookthief"}}},
		{"bookwarehouse", "bookwarehouse", []app{{namespace: "bookstore", name: "bookstore-v1"}, {namespace: "bookstore", name: "bookstore-v2"}}},
	} {
		eventually(t, podTime, func(ctx context.Context) string {
			counts, err := s.counts(ctx, want.namespace, want.server)
			switch {
			case err != nil:
				return err.Error()
			case counts.Peers["none"] > 0:
				return fmt.Sprintf("%s got %d requests without a verified peer", want.server, counts.Peers["none"])
			case !slices.ContainsFunc(want.clients, func(a app) bool { return counts.Peers[a.spiffe()] > 0 }):
				return fmt.Sprintf("%s saw peers %v, want one of %v", want.server, counts.Peers, want.clients)
			}
			return ""
		})
	}
	buyer := must(s.counts(t.Context(), "bookbuyer", "bookbuyer"))(t)
	if buyer.Total() == 0 {
		t.Errorf("bookbuyer has bought nothing: %+v", buyer)
	}
	t.Logf("bookbuyer has bought %v", buyer.Books)
}

// counts returns the counts of the single pod with this ServiceAccount.
func (s *story) counts(ctx context.Context, namespace, account string) (counts bookstore.Counts, err error) {
	pods, err := s.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return counts, err
	}
	forwarder := &report.Forwarder{Config: s.config, Kube: s.kube}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Spec.ServiceAccountName != account || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		text, err := forwarder.Fetch(ctx, report.Endpoint{Namespace: namespace, Pod: pod.Name, Port: pagePort, Path: "/raw"})
		if err != nil {
			return counts, err
		}
		return counts, json.Unmarshal(text, &counts)
	}
	return counts, fmt.Errorf("no pod of %s runs in %s", account, namespace)
}
