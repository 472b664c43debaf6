package apitest

import (
	"bufio"
	"io"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"      //nolint:staticcheck // its replacement would be one more module, for a test server
	"k8s.io/apimachinery/pkg/util/httpstream/spdy" //nolint:staticcheck // as above
	"k8s.io/client-go/tools/portforward"

	"github.com/osm-edge/osm/pkg/api/debug"
)

// forward serves a port-forward to a pod and responds to the HTTP requests on it with the
// pod's pages. Websocket requests are rejected, so that clients fall back to SPDY.
func (s *Server) forward(w http.ResponseWriter, r *http.Request) bool {
	s.lock.Lock()
	parsed, err := s.parse(r)
	s.lock.Unlock()
	if err != nil || parsed.subresource != "portforward" {
		return false
	}
	if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
		return true // it has responded
	}
	connection := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, replied <-chan struct{}) error {
		go func() {
			<-replied
			defer stream.Close()
			if stream.Headers().Get(corev1.StreamType) == corev1.StreamTypeData {
				s.converse(stream, parsed.name)
			}
		}()
		return nil
	})
	if connection == nil {
		return true // it has responded
	}
	defer connection.Close()
	<-connection.CloseChan()
	return true
}

// converse responds to the requests of one connection.
func (s *Server) converse(stream io.ReadWriter, pod string) {
	in := bufio.NewReader(stream)
	for {
		request, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		s.lock.Lock()
		if request.Method != http.MethodGet {
			s.writes = append(s.writes, request.Method+" "+pod+request.URL.Path)
		}
		body, ok := s.page(request.Method, pod, request.URL.Path)
		broken := !ok && request.URL.Path == debug.RotationPath && len(s.Rotation) > 0
		s.lock.Unlock()
		if broken {
			return
		}
		response := http.Response{StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Request: request, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body))}
		if !ok {
			response.StatusCode = http.StatusNotFound
		}
		if err := response.Write(stream); err != nil {
			return
		}
	}
}
