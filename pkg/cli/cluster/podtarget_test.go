package cluster_test

import (
	"strings"
	"testing"

	"github.com/osm-edge/osm/pkg/cli/cluster"
)

func TestParsePodTarget(t *testing.T) {
	for text, want := range map[string]string{
		"till":                  "pod/till",
		"pod/till":              "pod/till",
		"pods/till":             "pod/till",
		"po/till":               "pod/till",
		"deploy/till":           "deployment/till",
		"deployment/till":       "deployment/till",
		"Deployment/till":       "deployment/till",
		"deployments/till":      "deployment/till",
		"deployment.apps/till":  "deployment/till",
		"deployments.v1.apps/t": "deployment/t",
		"sts/db":                "statefulset/db",
		"statefulset/db":        "statefulset/db",
		"ds/agent":              "daemonset/agent",
		"daemonsets/agent":      "daemonset/agent",
		"rs/till-abc":           "replicaset/till-abc",
		"job/once":              "job/once",
		"":                      "names no pod",
		"deploy/":               "names no pod",
		"/till":                 "not a kind that has pods",
		"deploy/a/b":            "names no pod",
		"svc/till":              `"svc" is not a kind that has pods; use a pod's name, or pod/NAME, deploy/NAME`,
		"shop/till-abc":         "a namespace is given with -n: till-abc -n shop",
	} {
		got, err := cluster.ParsePodTarget(text)
		if err != nil && !strings.Contains(err.Error(), want) || err == nil && got.String() != want {
			t.Errorf("ParsePodTarget(%q) = %s, %v; want %s", text, got, err, want)
		}
	}
}
