package apitest

import (
	"encoding/json"
	"maps"
)

// The path at which a controller shows a rotation, and the annotation of the root that is asked for.
const (
	rotationPath = "/debug/rotation"
	rotateTo     = "config.openservicemesh.io/rotate-to"
)

// Page is one answer of a pod at /debug/rotation. Answers are given once each, in their order, the
// last one again and again.
type Page struct {
	Pod string
	// Body is the answer; "leads" is true unless it says otherwise. What it says of its "roots", a role or that one is not wanted any more, is
	// written to the MeshRootCertificates of those names, as the driver would do.
	Body Object
	// NextHolder, if it is not empty, holds the Lease from then on.
	NextHolder string
	// Broken ends the connection without an answer.
	Broken bool
}

// page is what a pod answers at a path.
func (s *Server) page(pod, path string) (string, bool) {
	if path != rotationPath || len(s.Rotation) == 0 || s.Rotation[0].Pod != pod {
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

// drive writes what a page says of a root.
func (s *Server) drive(root Object) {
	name, _ := root["name"].(string)
	for _, object := range s.list(rootCertificates, "", "", "") {
		spec, role := table(object, "spec"), root["role"]
		if meta(object, "name") != name || role == nil {
			continue
		}
		wanted := root["wantedAt"] != nil
		if annotations := table(object, "metadata", "annotations"); !wanted && annotations[rotateTo] != nil {
			delete(annotations, rotateTo)
		}
		spec["role"] = role
		s.store(rootCertificates, object)
	}
}
