package mesh

import (
	"cmp"
	"strings"
)

// ServiceName names a Kubernetes Service.
type ServiceName struct{ Namespace, Name string }

// String returns "namespace/name".
func (n ServiceName) String() string { return n.Namespace + "/" + n.Name }

// Compare orders by namespace, then name.
func (n ServiceName) Compare(o ServiceName) int {
	return cmp.Or(strings.Compare(n.Namespace, o.Namespace), strings.Compare(n.Name, o.Name))
}

// PodName names a pod.
type PodName struct{ Namespace, Name string }

// String returns "namespace/name", which is also the node id that the pod's proxy presents.
func (n PodName) String() string { return n.Namespace + "/" + n.Name }

// Compare orders by namespace, then name.
func (n PodName) Compare(o PodName) int {
	return cmp.Or(strings.Compare(n.Namespace, o.Namespace), strings.Compare(n.Name, o.Name))
}

// ParsePodName reads "namespace/name"; ok is false for anything else.
func ParsePodName(s string) (PodName, bool) {
	namespace, name, ok := strings.Cut(s, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return PodName{}, false
	}
	return PodName{Namespace: namespace, Name: name}, true
}

// Protocol is what is spoken on a port, as far as a proxy needs to know.
type Protocol uint8

// The protocols. The zero value is TCP: bytes that nobody looks into.
const (
	TCP Protocol = iota
	HTTP
	GRPC
)

// String returns "tcp", "http" or "grpc".
func (p Protocol) String() string {
	switch p {
	case HTTP:
		return "http"
	case GRPC:
		return "grpc"
	default:
		return "tcp"
	}
}

// IsHTTP reports whether the port carries HTTP requests; gRPC is HTTP/2.
func (p Protocol) IsHTTP() bool { return p == HTTP || p == GRPC }
