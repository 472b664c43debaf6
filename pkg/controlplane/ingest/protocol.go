package ingest

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// protocolOf returns the protocol of a service port: its appProtocol, else the prefix of its name ("grpc",
// "tcp-db", "mysql"), else its number, if that belongs to a protocol that is not HTTP, else HTTP, the default of
// OSM. known is false for an appProtocol that osm does not support; the protocol is then TCP.
func protocolOf(port corev1.ServicePort) (protocol mesh.Protocol, known bool) {
	if port.AppProtocol != nil {
		return protocolNamed(strings.ToLower(*port.AppProtocol))
	}
	prefix, _, _ := strings.Cut(strings.ToLower(port.Name), "-")
	switch prefix {
	case "http", "http2", "https", "grpc", "h2c", "tcp", "tls":
		return protocolNamed(prefix)
	}
	if notHTTP(prefix) || notHTTPPort(port.Port) {
		return mesh.TCP, true
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
		return mesh.TCP, notHTTP(name)
	}
}

// notHTTP reports whether a well-known protocol is other than HTTP: taken for HTTP, it would hang or fail. Many
// charts name their ports so and set no appProtocol.
func notHTTP(name string) bool {
	switch name {
	case "amqp", "amqps", "mqtt", "mqtts", "stomp", "nats", "kafka", "epmd", // messages
		"mysql", "mysqlx", "mariadb", "postgres", "postgresql", "pgsql", "mssql", "oracle", "mongo", "mongodb", "cql", "cassandra", // databases
		"redis", "rediss", "memcache", "memcached", "zookeeper", "thrift",
		"smtp", "smtps", "submission", "imap", "imaps", "pop3", "pop3s", // mail
		"ftp", "ftps", "sftp", "ssh", "telnet", "ldap", "ldaps", "kerberos", "nfs", "smb", "rsync", "git",
		"dns", "sip", "sips", "rtsp", "irc", "xmpp":
		return true
	}
	return false
}

// notHTTPPort reports whether a number is registered for one of these protocols: a Service with one port needs
// no name for it.
func notHTTPPort(number int32) bool {
	switch number {
	case 21, 22, 23, 25, 53, 110, 143, 389, 465, 587, 636, 993, 995, // FTP, SSH, Telnet, mail, DNS, LDAP
		1433, 1521, 3306, 5432, 27017, // SQL Server, Oracle, MySQL, PostgreSQL, MongoDB
		1883, 8883, 5671, 5672, 6379, 11211: // MQTT, AMQP, Redis, memcached
		return true
	}
	return false
}
