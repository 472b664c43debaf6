// Package charts carries the Helm chart that installs the mesh's control plane, embedded in the binary.
//
// It is not a chart renderer and knows nothing of Helm: it only hands out the chart's files, so that the CLI and plain
// `helm install ./charts/osm` work from the same bytes.
//
// Invariant: the embedded tree is the directory charts/osm as it was at build time, hidden and underscored files included.
package charts

import (
	"embed"
	"io/fs"
)

//go:embed all:osm
var osm embed.FS

// Files returns the chart, rooted at the chart itself: Chart.yaml is at the root, templates in "templates".
func Files() fs.FS {
	root, err := fs.Sub(osm, "osm")
	if err != nil {
		// The path is a constant that the embed directive above has proven; only a programming error gets here.
		panic("charts: embedded chart has no root: " + err.Error())
	}
	return root
}
