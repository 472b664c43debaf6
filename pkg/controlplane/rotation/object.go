package rotation

import (
	"fmt"
	"time"

	"github.com/osm-edge/osm/pkg/api/config/v1alpha2"
)

// RootOf reads a root from its object: its role and when it was requested. The fingerprint is the one in
// the status, which the control plane last reported.
func RootOf(object *v1alpha2.MeshRootCertificate) Root {
	root := Root{Name: object.Name, Role: Role(object.Spec.Role), Fingerprint: object.Status.Fingerprint}
	text, asked := object.Annotations[v1alpha2.AnnotationRotateTo]
	if !asked {
		return root
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		root.Problem = fmt.Sprintf("annotation %s is %q: want a time as RFC 3339, such as 2026-01-02T15:04:05Z", v1alpha2.AnnotationRotateTo, text)
		return root
	}
	root.WantedAt = at.UTC()
	return root
}
