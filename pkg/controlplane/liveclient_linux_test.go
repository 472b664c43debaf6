package controlplane_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/controlplane/envoy"
	"github.com/osm-edge/osm/pkg/controlplane/ingest"
	"github.com/osm-edge/osm/pkg/controlplane/mesh"
)

// appUID is the user of the application in a livePod.
const appUID = 1000

// client is a mesh with egress and the pod shop/client at livePodIP.
func client() ingest.Objects {
	objects := ingest.Objects{
		MeshName: "osm", TrustDomain: "cluster.local", MeshConfig: &v1alpha2.MeshConfig{},
		Namespaces: []*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{api.LabelMonitoredBy: "osm"}}}},
		Pods:       []*corev1.Pod{injected("shop", "client", "client", livePodIP)},
	}
	objects.MeshConfig.Spec.Traffic.EnablePermissiveTrafficPolicyMode = true
	objects.MeshConfig.Spec.Traffic.EnableEgress = true
	return objects
}

// startClient starts the proxy of shop/client with its outbound configuration. Everything outside is in the
// other network namespace, at the addresses that serveOutside adds there.
func startClient(t *testing.T, objects ingest.Objects) *livePod {
	t.Helper()
	p := startProxy(t, objects, mesh.PodName{Namespace: "shop", Name: "client"}, (*livePod).outbound)
	p.pod.IP(t, "route add default via "+liveClientIP)
	return p
}

// outbound holds the outbound listener and what it needs, with its routes and endpoints inside.
func (p *livePod) outbound(view envoy.View, dir string) []byte {
	p.t.Helper()
	routes, endpoints := map[string]any{}, map[string]any{}
	for _, r := range view.All(envoy.Routes) {
		routes[r.Name] = p.decoded(r)
	}
	for _, r := range view.All(envoy.Endpoints) {
		endpoints[r.Name] = p.decoded(r)
	}
	var listeners, clusters []any
	for _, r := range view.Shared.Set(envoy.Listeners).All() {
		listeners = append(listeners, withoutXDS(p.decoded(r), routes, dir))
	}
	for _, r := range view.Shared.Set(envoy.Clusters).All() {
		cluster, ok := withoutXDS(p.decoded(r), routes, dir).(map[string]any)
		if !ok {
			p.t.Fatalf("cluster %s is no object", r.Name)
		}
		if cluster["type"] == "EDS" {
			cluster["type"], cluster["load_assignment"] = "STATIC", endpoints[r.Name]
			delete(cluster, "eds_cluster_config")
		}
		clusters = append(clusters, cluster)
	}
	return p.static(listeners, clusters)
}

// serveOutside answers on a port of an address outside: to an HTTP request with the address in the header
// "Server-Address", to anything else with a line that holds it.
func (p *livePod) serveOutside(address string, port int) {
	p.t.Helper()
	if address != liveClientIP {
		p.client.IP(p.t, "address replace "+address+"/24 dev eth0 nodad")
	}
	listener := p.client.Listen(p.t, fmt.Sprintf("%s:%d", address, port))
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go answerWith(conn, listener.Addr().String())
		}
	}()
}

func answerWith(conn net.Conn, address string) {
	defer func() { _ = conn.Close() }()
	reader := bufio.NewReader(conn)
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return
		}
		if !strings.HasPrefix(line, "GET ") {
			_, _ = fmt.Fprintln(conn, address)
			return
		}
		for line != "\r\n" && err == nil {
			line, err = reader.ReadString('\n')
		}
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nServer-Address: %s\r\nContent-Length: 0\r\n\r\n", address)
	}
}

// appDial connects as the application, from an address of the pod's. What a proxy refuses looks connected until
// the first read.
func (p *livePod) appDial(from, to string) net.Conn {
	p.t.Helper()
	dialer := net.Dialer{Timeout: 10 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
	conn, err := p.pod.Dial(dialer, to, appUID)
	must(p.t, err)
	must(p.t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	p.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// lineFrom returns the address that answers the application's bytes, "" if the connection is closed.
func (p *livePod) lineFrom(from, to string) string {
	p.t.Helper()
	conn := p.appDial(from, to)
	_, _ = io.WriteString(conn, "hello\n")
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line)
}

// requestFrom returns the address that answers the application's request.
func (p *livePod) requestFrom(from, to, header string) string {
	p.t.Helper()
	conn := p.appDial(from, to)
	_, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: shop\r\n%s\r\n\r\n", header)
	must(p.t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(p.t, err)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		p.t.Errorf("a request from %s to %s: status %d", from, to, response.StatusCode)
	}
	return response.Header.Get("Server-Address")
}

// TestSticky asks a real Envoy for a Service with sessionAffinity: all connections and requests of one client go
// to one pod, at each port, whatever the application writes into x-forwarded-for.
func TestSticky(t *testing.T) {
	objects := client()
	at := discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}, {Name: new("tcp-game"), Port: new(int32(7777))}},
	}
	var servers []string
	for i := range 8 {
		servers = append(servers, fmt.Sprintf("10.77.0.%d", 101+i))
		at.Endpoints = append(at.Endpoints, discoveryv1.Endpoint{Addresses: []string{servers[i]}})
	}
	objects.EndpointSlices = []*discoveryv1.EndpointSlice{&at}
	objects.Services = []*corev1.Service{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.50", ClusterIPs: []string{"10.96.0.50"}, SessionAffinity: corev1.ServiceAffinityClientIP,
			Ports: []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "tcp-game", Port: 7777}}},
	}}
	p := startClient(t, objects)
	for _, server := range servers {
		p.serveOutside(server, 8080)
		p.serveOutside(server, 7777)
	}
	chosen := map[string]bool{}
	for i := range 8 {
		// Another address of the pod stands for another client pod: shared configuration knows neither.
		from := fmt.Sprintf("10.77.0.%d", 20+i)
		p.pod.IP(t, "address add "+from+"/24 dev eth0 nodad")
		first, _, _ := strings.Cut(p.lineFrom(from, "10.96.0.50:7777"), ":")
		if first == "" {
			t.Fatalf("client %s reaches nothing", from)
		}
		chosen[first] = true
		for n := range 6 {
			if got := p.lineFrom(from, "10.96.0.50:7777"); got != first+":7777" {
				t.Errorf("client %s is at %s, and a later connection at %s", from, first, got)
			}
			if got := p.requestFrom(from, "10.96.0.50:80", fmt.Sprintf("x-forwarded-for: 192.0.2.%d", n)); got != first+":8080" {
				t.Errorf("client %s is at %s, and a request at %s", from, first, got)
			}
		}
	}
	if len(chosen) < 2 {
		t.Errorf("all clients are at %v", chosen)
	}
}

// TestScrapingProxies asks a real Envoy for the ports on which the proxy of another pod tells its metrics and
// whether it is ready, at the pod's own address and through a Service.
func TestScrapingProxies(t *testing.T) {
	const server = "10.77.0.101"
	for _, port := range []int{api.PortEnvoyMetrics, api.PortEnvoyReadyProbe} {
		t.Run(fmt.Sprint(port), func(t *testing.T) {
			objects := client()
			objects.Pods = append(objects.Pods, injected("shop", "server", "server", server))
			at := &discoveryv1.EndpointSlice{
				ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "proxies-1", Labels: map[string]string{discoveryv1.LabelServiceName: "proxies"}},
				AddressType: discoveryv1.AddressTypeIPv4,
				Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(port))}},
				Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{server}, TargetRef: refTo(objects.Pods[1])}},
			}
			objects.EndpointSlices = []*discoveryv1.EndpointSlice{at}
			objects.Services = []*corev1.Service{{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "proxies"},
				Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.50", ClusterIPs: []string{"10.96.0.50"}, Ports: []corev1.ServicePort{{Name: "http", Port: int32(port)}}},
			}}
			p := startClient(t, objects)
			p.serveOutside(server, port)
			p.serveOutside("10.77.0.200", port)
			want := fmt.Sprintf("%s:%d", server, port)
			for _, to := range []string{server, "10.96.0.50"} {
				if got := p.requestFrom(livePodIP, fmt.Sprintf("%s:%d", to, port), "X: y"); got != want {
					t.Errorf("%s:%d answers as %q", to, port, got)
				}
			}
			if got := p.lineFrom(livePodIP, fmt.Sprintf("10.77.0.200:%d", port)); got != fmt.Sprintf("10.77.0.200:%d", port) {
				t.Errorf("a neighbour outside the mesh answers as %q", got)
			}
			snapshot, _ := ingest.Build(objects)
			if w := snapshot.Workload(mesh.PodName{Namespace: "shop", Name: "server"}); len(w.Inbound) > 0 {
				t.Errorf("the proxy serves %v as if it were the application's", w.Inbound)
			}
		})
	}
}

// TestDNSWithoutEgress asks a real Envoy what a pod reaches without egress: the cluster's DNS over TCP, and
// nothing else outside the mesh, also if somebody has labelled the namespace of the cluster's DNS as a member.
func TestDNSWithoutEgress(t *testing.T) {
	for _, member := range []bool{false, true} {
		t.Run(fmt.Sprint("member=", member), func(t *testing.T) { testDNSWithoutEgress(t, member) })
	}
}

func testDNSWithoutEgress(t *testing.T, member bool) {
	const dns = "10.96.0.53"
	objects := client()
	objects.MeshConfig.Spec.Traffic.EnableEgress = false
	objects.Services = []*corev1.Service{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-dns"},
		Spec: corev1.ServiceSpec{ClusterIP: dns, ClusterIPs: []string{dns}, Ports: []corev1.ServicePort{
			{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "dns-tcp", Port: 53, Protocol: corev1.ProtocolTCP},
			{Name: "metrics", Port: 9153, Protocol: corev1.ProtocolTCP}}},
	}}
	if member {
		labels := map[string]string{api.LabelMonitoredBy: "osm"}
		objects.Namespaces = append(objects.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", Labels: labels}})
	}
	p := startClient(t, objects)
	for to, want := range map[string]bool{dns + ":53": true, dns + ":9153": false, "10.96.0.54:53": false} {
		address := netip.MustParseAddrPort(to)
		p.serveOutside(address.Addr().String(), int(address.Port()))
		if got := p.lineFrom(livePodIP, to); (got == to) != want {
			t.Errorf("%s answers as %q, want an answer of its own: %t", to, got, want)
		}
	}
}

// TestExternalAddress asks a real Envoy for external addresses that two Services share: their ports lead to the
// Services, and other ports to whoever is there. One of the addresses is among those of the mesh's pods.
func TestExternalAddress(t *testing.T) {
	const inBlock, outside = "10.77.0.150", "192.0.2.80"
	objects := client()
	for i, name := range []string{"web", "db"} {
		ip, server := fmt.Sprintf("10.96.0.5%d", i), fmt.Sprintf("10.77.0.10%d", i)
		objects.Services = append(objects.Services, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Spec: corev1.ServiceSpec{ClusterIP: ip, ClusterIPs: []string{ip}, ExternalIPs: []string{inBlock, outside},
				Ports: []corev1.ServicePort{{Name: "tcp", Port: int32(80 + i)}, {Name: "tcp-metrics", Port: int32([]int{api.PortEnvoyMetrics, 9000}[i])}}},
		})
		objects.EndpointSlices = append(objects.EndpointSlices, &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: new("tcp"), Port: new(int32(8080))}, {Name: new("tcp-metrics"), Port: new(int32(8080))}},
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{server}}},
		})
	}
	p := startClient(t, objects)
	for server, port := range map[string]int{"10.77.0.100": 8080, "10.77.0.101": 8080, inBlock: 82, outside: 82} {
		p.serveOutside(server, port)
	}
	for _, address := range []string{inBlock, outside} {
		for port, want := range map[int]string{
			80: "10.77.0.100:8080", api.PortEnvoyMetrics: "10.77.0.100:8080", 81: "10.77.0.101:8080", 9000: "10.77.0.101:8080", 82: address + ":82",
		} {
			if got := p.lineFrom(livePodIP, fmt.Sprintf("%s:%d", address, port)); got != want {
				t.Errorf("%s:%d answers as %q, want %q", address, port, got, want)
			}
		}
	}
}
