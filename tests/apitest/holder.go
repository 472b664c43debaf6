package apitest

import (
	"encoding/json"
	"maps"
	"net/http"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
	"github.com/osm-edge/osm/pkg/api/debug"
)

// Page is one response of a pod at debug.RotationPath. Pages are served once each, in order; the last one
// is repeated.
type Page struct {
	Pod string
	// Body is the response; "leads" is true unless Body sets it. The roles of its "roots", and the lack of
	// "wantedAt", are written to the MeshRootCertificates of those names, as the driver would do.
	Body Object
	// NextHolder, if not empty, is the leader from then on.
	NextHolder string
	// Broken closes the connection without a response.
	Broken bool
}

// page is the response of a pod at a path.
func (s *Server) page(method, pod, path string) (string, bool) {
	if series := s.Series[pod+path]; len(series) > 0 {
		if len(series) > 1 && method == http.MethodGet {
			s.Series[pod+path] = series[1:]
		}
		return series[0], true
	}
	if path != debug.RotationPath || len(s.Rotation) == 0 || s.Rotation[0].Pod != pod {
		body, ok := s.Pages[pod+path]
		return body, ok
	}
	page := s.Rotation[0]
	if len(s.Rotation) > 1 {
		s.Rotation = s.Rotation[1:]
	}
	roots, _ := page.Body["roots"].([]any)
	for _, root := range roots {
		if root, ok := root.(Object); ok {
			s.drive(root)
		}
	}
	if page.NextHolder != "" {
		for _, lease := range s.list(leases, "", "", "") {
			lease = maps.Clone(lease)
			lease["spec"] = Object{"holderIdentity": page.NextHolder}
			s.store(leases, lease)
		}
	}
	shown := Object{"leads": true}
	maps.Copy(shown, page.Body)
	body, err := json.Marshal(shown)
	return string(body), err == nil && !page.Broken
}

// drive writes the role and request of a page's root to its object.
func (s *Server) drive(root Object) {
	name, _ := root["name"].(string)
	for _, object := range s.list(rootCertificates, "", "", "") {
		spec, role := table(object, "spec"), root["role"]
		if meta(object, "name") != name || role == nil {
			continue
		}
		wanted := root["wantedAt"] != nil
		if annotations := table(object, "metadata", "annotations"); !wanted && annotations[v1alpha2.AnnotationRotateTo] != nil {
			delete(annotations, v1alpha2.AnnotationRotateTo)
		}
		spec["role"] = role
		s.store(rootCertificates, object)
	}
}
