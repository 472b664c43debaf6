package ingest_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestProtocols lists what a Service's port says about its protocol, and what osm takes it for.
func TestProtocols(t *testing.T) {
	for _, c := range []struct {
		name, appProtocol string
		number            int32
		want              string
		problem           bool
	}{
		{"", "", 80, "http", false},
		{"web", "", 8080, "http", false},
		{"http-stats", "", 15672, "http", false},
		{"HTTP", "", 80, "http", false},
		{"grpc-web", "", 80, "grpc", false},
		{"http2", "", 80, "grpc", false},
		{"https", "", 443, "tcp", false},
		{"tcp-redis", "", 6379, "tcp", false},
		{"tcpdump", "", 80, "http", false}, // no prefix without a hyphen
		// Well-known charts.
		{"amqp", "", 15000, "tcp", false},
		{"amqp-tls", "", 15001, "tcp", false},
		{"mongodb", "", 1, "tcp", false},
		{"mysql", "", 1, "tcp", false},
		{"mysql-metrics", "", 1, "tcp", false},
		{"memcache", "", 1, "tcp", false},
		{"cql", "", 1, "tcp", false},
		{"kafka", "", 1, "tcp", false},
		{"postgres", "", 1, "tcp", false},
		// A number speaks only where the name says nothing.
		{"", "", 3306, "tcp", false},
		{"db", "", 5432, "tcp", false},
		{"http-admin", "", 3306, "http", false},
		{"", "", 9092, "http", false}, // Kafka, but not registered for it
		// appProtocol wins.
		{"mysql", "http", 3306, "http", false},
		{"web", "redis", 80, "tcp", false},
		{"web", "MySQL", 80, "tcp", false},
		{"web", "kubernetes.io/h2c", 80, "grpc", false},
		{"http", "example.com/own", 80, "tcp", true},
	} {
		object := service("shop", "web")
		object.Spec.Ports = []corev1.ServicePort{{Name: c.name, Port: c.number}}
		if c.appProtocol != "" {
			object.Spec.Ports[0].AppProtocol = &c.appProtocol
		}
		objects := meshOfTwo()
		objects.Services = []*corev1.Service{object}
		snapshot, problems := build(t, objects)
		if got := snapshot.Services()[0].Ports[0].Protocol.String(); got != c.want {
			t.Errorf("port %d named %q with appProtocol %q is %s, want %s", c.number, c.name, c.appProtocol, got, c.want)
		}
		if told := strings.Contains(problems, "unsupported appProtocol"); told != c.problem {
			t.Errorf("port %d named %q with appProtocol %q: problems %q", c.number, c.name, c.appProtocol, problems)
		}
	}
}
