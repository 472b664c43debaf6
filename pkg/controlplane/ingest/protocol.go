package ingest

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// protocolOf returns the protocol of a service port: its appProtocol, else the prefix of its name ("grpc",
// "tcp-db"), else HTTP, the default of OSM. known is false for an appProtocol that osm does not support;
// the protocol is then TCP.
func protocolOf(port corev1.ServicePort) (protocol mesh.Protocol, known bool) {
	if port.AppProtocol != nil {
		return protocolNamed(strings.ToLower(*port.AppProtocol))
	}
	name := strings.ToLower(port.Name)
	for _, prefix := range []string{"http", "http2", "https", "grpc", "h2c", "tcp", "tls"} {
		if name == prefix || strings.HasPrefix(name, prefix+"-") {
			return protocolNamed(prefix)
		}
	}
	return mesh.HTTP, true
}

func protocolNamed(name string) (mesh.Protocol, bool) {
	switch name {
	case "http", "http1", "ws", "kubernetes.io/ws":
		return mesh.HTTP, true
	case "grpc", "http2", "h2c", "kubernetes.io/h2c":
		return mesh.GRPC, true
	case "tcp", "tcp-server-first", "https", "wss", "kubernetes.io/wss", "tls":
		return mesh.TCP, true
	default:
		return mesh.TCP, false
	}
}
