package injector

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osm-edge/osm/pkg/api"
)

// probeKind is one of the three probes of a container.
type probeKind struct {
	name  string // liveness, readiness, startup
	field string // the probe's field in a container's JSON
	port  uint16 // the port of Envoy that answers in the application's place
}

func probeKinds() []probeKind {
	return []probeKind{
		{"liveness", "livenessProbe", api.PortLivenessProbe},
		{"readiness", "readinessProbe", api.PortReadinessProbe},
		{"startup", "startupProbe", api.PortStartupProbe},
	}
}

// pathPrefix begins the paths that the kubelet asks Envoy for; the container's name ends them.
func (k probeKind) pathPrefix() string { return "/osm-" + k.name + "-probe/" }

func (k probeKind) of(c *corev1.Container) *corev1.Probe {
	switch k.name {
	case "liveness":
		return c.LivenessProbe
	case "readiness":
		return c.ReadinessProbe
	default:
		return c.StartupProbe
	}
}

// protocol is how Envoy asks the application on the kubelet's behalf.
type protocol string

const (
	protocolHTTP  protocol = "http"
	protocolHTTPS protocol = "https"
	protocolTCP   protocol = "tcp"
	protocolGRPC  protocol = "grpc"
)

// probe is one probe that Envoy answers.
type probe struct {
	kind      probeKind
	container string
	list      string // the field of the pod's spec that lists the container
	index     int    // and its place there
	protocol  protocol
	port      uint16 // the application's
	path      string // with query; HTTP and HTTPS only
	service   string // gRPC only
	timeout   int32  // seconds
	headers   []corev1.HTTPHeader
}

// servedPath is what the kubelet asks Envoy for.
func (p probe) servedPath() string { return p.kind.pathPrefix() + p.container }

// clusterName names Envoy's way to the application for this probe.
func (p probe) clusterName() string {
	return fmt.Sprintf("osm-probe-%s-%s-%d", p.kind.name, p.container, p.port)
}

// probes finds the probes that the redirect would affect: all except exec probes, probes of another host, and
// probes of excluded ports.
func probes(pod *corev1.Pod, direct []uint16) ([]probe, error) {
	found, err := probesOf(pod.Spec.InitContainers, "initContainers", direct)
	if err != nil {
		return nil, err
	}
	more, err := probesOf(pod.Spec.Containers, "containers", direct)
	if err != nil {
		return nil, err
	}
	return append(found, more...), nil
}

func probesOf(containers []corev1.Container, list string, direct []uint16) ([]probe, error) {
	var found []probe
	for i := range containers {
		c := &containers[i]
		for _, kind := range probeKinds() {
			original := kind.of(c)
			if original == nil {
				continue
			}
			p, ok, err := newProbe(c, original)
			if err == nil {
				err = cmp.Or(checkRewritten(kind, original), p.checkText())
			}
			if err != nil {
				return nil, fmt.Errorf("%s of container %s: %w", kind.field, c.Name, err)
			}
			if ok && !slices.Contains(direct, p.port) {
				p.kind, p.container, p.list, p.index = kind, c.Name, list, i
				found = append(found, p)
			}
		}
	}
	return found, nil
}

// newProbe reads the handler of a probe; ok is false for one that does not go through Envoy.
func newProbe(c *corev1.Container, original *corev1.Probe) (p probe, ok bool, err error) {
	p.timeout = max(original.TimeoutSeconds, 1)
	switch {
	case original.HTTPGet != nil && original.HTTPGet.Host == "":
		err = p.readHTTP(c, original.HTTPGet)
	case original.TCPSocket != nil && original.TCPSocket.Host == "":
		p.protocol = protocolTCP
		p.port, err = resolvePort(c, original.TCPSocket.Port)
	case original.GRPC != nil:
		p.protocol = protocolGRPC
		if original.GRPC.Service != nil {
			p.service = *original.GRPC.Service
		}
		p.port, err = resolvePort(c, intstr.FromInt32(original.GRPC.Port))
	default:
		return probe{}, false, nil
	}
	return p, err == nil, err
}

func (p *probe) readHTTP(c *corev1.Container, get *corev1.HTTPGetAction) (err error) {
	p.protocol = protocolHTTP
	if get.Scheme == corev1.URISchemeHTTPS {
		p.protocol = protocolHTTPS
	}
	p.headers = get.HTTPHeaders
	p.path = requestPath(get.Path)
	p.port, err = resolvePort(c, get.Port)
	return err
}

// checkText refuses text that cannot be part of a program's argument.
func (p probe) checkText() error {
	if strings.ContainsRune(p.path+p.service, 0) {
		return errors.New("it contains a NUL character")
	}
	return nil
}

// requestPath is what the kubelet would have sent: it parses the path as a URL, so that a query
// survives and a fragment does not, and escapes as a whole what does not parse.
func requestPath(path string) string {
	u, err := url.Parse(path)
	if err != nil {
		u = &url.URL{Path: path}
	}
	u.Scheme, u.Host, u.Opaque, u.User = "", "", "", nil
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path
		u.RawPath = ""
	}
	return u.RequestURI()
}

func resolvePort(c *corev1.Container, port intstr.IntOrString) (uint16, error) {
	number := port.IntVal
	if port.Type == intstr.String {
		i := slices.IndexFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == port.StrVal })
		if i < 0 {
			return 0, fmt.Errorf("port %q is not the name of one of the container's ports", port.StrVal)
		}
		number = c.Ports[i].ContainerPort
	}
	if number < 1 || number > 65535 {
		return 0, fmt.Errorf("port %s is out of range: want 1 to 65535", port.String())
	}
	return uint16(number), nil
}

// handler is the replacement: an HTTP GET to Envoy, with the original headers.
func (p probe) handler() *corev1.HTTPGetAction {
	return &corev1.HTTPGetAction{
		Path: p.servedPath(), Port: intstr.FromInt32(int32(p.kind.port)),
		Scheme: corev1.URISchemeHTTP, HTTPHeaders: p.headers,
	}
}

// originalField is the JSON field of the handler that is replaced.
func (p probe) originalField() string {
	switch p.protocol {
	case protocolTCP:
		return "tcpSocket"
	case protocolGRPC:
		return "grpc"
	default:
		return "httpGet"
	}
}

func compareProbes(a, b probe) int {
	return cmp.Or(cmp.Compare(a.kind.port, b.kind.port), cmp.Compare(a.container, b.container))
}
