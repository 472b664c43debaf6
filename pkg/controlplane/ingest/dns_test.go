package ingest_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/controlplane/ingest"
)

// TestClusterDNS checks where proxies let DNS over TCP through.
func TestClusterDNS(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*ingest.Objects, *corev1.Service)
		want   string
	}{
		"without egress": {func(*ingest.Objects, *corev1.Service) {}, "10.96.0.53:53"},
		"IPv6 first":     {func(_ *ingest.Objects, s *corev1.Service) { s.Spec.ClusterIPs = []string{"fd00::53", "10.96.0.53"} }, "10.96.0.53:53"},
		"with egress":    {func(o *ingest.Objects, _ *corev1.Service) { o.MeshConfig.Spec.Traffic.EnableEgress = true }, ""},
		"no MeshConfig":  {func(o *ingest.Objects, _ *corev1.Service) { o.MeshConfig = nil }, ""},
		"UDP only":       {func(_ *ingest.Objects, s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[:1] }, ""},
		"headless": {func(_ *ingest.Objects, s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"}
		}, ""},
		"another namespace": {func(_ *ingest.Objects, s *corev1.Service) { s.Namespace = "shop" }, ""},
		"another name":      {func(_ *ingest.Objects, s *corev1.Service) { s.Name = "dns" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			objects, dns := meshOfTwo(), service("kube-system", "kube-dns")
			objects.MeshConfig.Spec.Traffic.EnableEgress = false
			dns.Spec.ClusterIP, dns.Spec.ClusterIPs = "10.96.0.53", []string{"10.96.0.53"}
			dns.Spec.Ports = []corev1.ServicePort{{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "dns-tcp", Port: 53, Protocol: corev1.ProtocolTCP}}
			c.change(&objects, dns)
			objects.Services = []*corev1.Service{dns}
			snapshot, _ := build(t, objects)
			got := ""
			if at := snapshot.Settings().DNS; at.IsValid() {
				got = at.String()
			}
			if got != c.want {
				t.Errorf("DNS is at %q, want %q", got, c.want)
			}
		})
	}
}
