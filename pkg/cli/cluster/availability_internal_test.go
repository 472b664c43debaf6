package cluster

import (
	"errors"
	"strings"
	"testing"
)

// Only if nothing at all could be read is that the one error.
func TestUnreadable(t *testing.T) {
	gone := errors.New("connection refused")
	a := Availability{Mesh: Mesh{Name: "blue", Namespace: "ns"}}
	a.Nodes.Err, a.Lease.Err, a.Webhook.Err, a.Endpoints.Err, a.Injected.Err = gone, gone, gone, gone, gone
	c := Component{}
	c.Deployment.Err, c.Pods.Err, c.Budgets.Err, c.Autoscalers.Err = gone, gone, gone, gone
	a.Components = []Component{c, c}
	if err := a.Unreadable(); !errors.Is(err, gone) || !strings.Contains(err.Error(), "mesh [blue] in namespace [ns]") {
		t.Errorf("Unreadable = %v", err)
	}
	a.Components[1].Budgets.Err = nil
	if err := a.Unreadable(); err != nil {
		t.Errorf("Unreadable = %v, although the budgets of a component were read", err)
	}
}
