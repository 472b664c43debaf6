package tresor

import (
	"context"
	"fmt"
	"slices"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
)

// Expected is what the cluster shows of a mesh's root apart from the root's Secret.
type Expected struct {
	// Fingerprints are those of the roots that the mesh trusts; none means that it has not used one yet.
	Fingerprints []string
	// Source is where they were seen.
	Source string
}

func (e Expected) any() bool { return len(e.Fingerprints) > 0 }

func (e Expected) allows(root *ca.Root) bool {
	return !e.any() || slices.Contains(e.Fingerprints, root.Fingerprint())
}

// missing is the fault of a Secret that does not exist.
func (e Expected) missing() *ca.RootError {
	return &ca.RootError{
		Key: "ca.crt", Problem: fmt.Sprintf("is missing, and the mesh uses the root %s", e),
		Fix: "restore the Secret from a backup; a running controller puts it back by itself. If that root is lost or not the mesh's, see docs/certificates.md, \"A lost root\"",
	}
}

// differs is the fault of a Secret with another root.
func (e Expected) differs(root *ca.Root) *ca.RootError {
	return &ca.RootError{
		Key: "ca.crt", Problem: fmt.Sprintf("is the root sha256:%s, and the mesh uses the root %s", root.Fingerprint(), e),
		Fix: "restore that root; to replace it while a controller runs, use osm mesh rotate-root. If that root is lost or not the mesh's, see docs/certificates.md, \"A lost root\"",
	}
}

// String names the root and where it was seen.
func (e Expected) String() string { return fmt.Sprintf("sha256:%s (%s)", e.Fingerprints[0], e.Source) }

// expected asks for what is expected.
func (s Store) expected(ctx context.Context) (Expected, error) {
	if s.Expected == nil {
		return Expected{}, nil
	}
	return retry(ctx, s.Log, s.object(), func() (Expected, error) { return s.Expected(ctx) })
}
