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

// probeKind is a probe or a lifecycle hook of a container: what the kubelet asks the pod's address for.
type probeKind struct {
	name  string // liveness, readiness, startup, poststart, prestop
	field string // its field in a container's JSON
	port  uint16 // the port of Envoy that answers in the application's place
	hook  bool
}

const (
	fieldLiveness  = "livenessProbe"
	fieldReadiness = "readinessProbe"
	fieldStartup   = "startupProbe"
	fieldPostStart = "lifecycle/postStart"
	fieldPreStop   = "lifecycle/preStop"
)

func probeKinds() []probeKind {
	return []probeKind{
		{name: "liveness", field: fieldLiveness, port: api.PortLivenessProbe},
		{name: "readiness", field: fieldReadiness, port: api.PortReadinessProbe},
		{name: "startup", field: fieldStartup, port: api.PortStartupProbe},
		{name: "poststart", field: fieldPostStart, port: api.PortLifecycleHooks, hook: true},
		{name: "prestop", field: fieldPreStop, port: api.PortLifecycleHooks, hook: true},
	}
}

func (k probeKind) what() string {
	if k.hook {
		return "hook"
	}
	return "probe"
}

// pathPrefix begins the paths that the kubelet asks Envoy for.
func (k probeKind) pathPrefix() string { return "/osm-" + k.name + "-" + k.what() + "/" }

// of returns the container's handler of that kind, nil for none. Of hooks only httpGet counts: exec and sleep
// need no network, and the kubelet does not run tcpSocket.
func (k probeKind) of(c *corev1.Container) *corev1.Probe {
	switch k.field {
	case fieldLiveness:
		return c.LivenessProbe
	case fieldReadiness:
		return c.ReadinessProbe
	case fieldStartup:
		return c.StartupProbe
	}
	if c.Lifecycle == nil {
		return nil
	}
	hook := c.Lifecycle.PostStart
	if k.field == fieldPreStop {
		hook = c.Lifecycle.PreStop
	}
	if hook == nil || hook.HTTPGet == nil {
		return nil
	}
	return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: hook.HTTPGet}}
}

// protocol is how Envoy asks the application on the kubelet's behalf.
type protocol string

const (
	protocolHTTP  protocol = "http"
	protocolHTTPS protocol = "https"
	protocolTCP   protocol = "tcp"
	protocolGRPC  protocol = "grpc"
)

// probe is one probe or hook that Envoy answers.
type probe struct {
	kind      probeKind
	container string
	secret    string // ends the path of a hook
	list      string // the field of the pod's spec that lists the container
	index     int    // and its place there
	protocol  protocol
	port      uint16 // the application's
	path      string // with query; HTTP and HTTPS only
	service   string // gRPC only
	timeout   int32  // seconds; hooks have none
	headers   []corev1.HTTPHeader
	original  corev1.ProbeHandler // without headers
}

// servedPath is what the kubelet asks Envoy for. Anybody who reaches the pod may ask for a probe, which changes
// nothing in the application. A hook may end it: its path is known only to those who may read the pod.
func (p probe) servedPath() string {
	if p.kind.hook {
		return p.kind.pathPrefix() + p.container + "/" + p.secret
	}
	return p.kind.pathPrefix() + p.container
}

// clusterName names Envoy's way to the application for this probe.
func (p probe) clusterName() string {
	return fmt.Sprintf("osm-%s-%s-%s-%d", p.kind.what(), p.kind.name, p.container, p.port)
}

// probes finds the probes and hooks that the redirect would affect: all except exec, those of another host, and
// those of excluded ports.
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
				err = cmp.Or(checkMoved(kind, original), p.checkText())
			}
			if err != nil {
				return nil, fmt.Errorf("%s of container %s: %w", kind.field, c.Name, err)
			}
			if ok && !slices.Contains(direct, p.port) {
				p.kind, p.container, p.list, p.index = kind, c.Name, list, i
				p.original = withoutHeaders(original.ProbeHandler)
				if kind.hook {
					p.timeout = 0
				}
				found = append(found, p)
			}
		}
	}
	return found, nil
}

func withoutHeaders(handler corev1.ProbeHandler) corev1.ProbeHandler {
	if handler.HTTPGet != nil {
		get := *handler.HTTPGet
		get.HTTPHeaders = nil
		handler.HTTPGet = &get
	}
	return handler
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
	return cmp.Or(cmp.Compare(a.kind.port, b.kind.port), cmp.Compare(a.container, b.container), cmp.Compare(a.kind.name, b.kind.name))
}
