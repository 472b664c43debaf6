package changes

import (
	"github.com/osm-edge/osm/pkg/cli/release"
)

// State is a mesh as a chart and its values describe it.
type State struct {
	Chart    *release.Chart
	User     release.Values // what the user set
	Rendered string         // all manifests, hooks included
}

// Changes are the differences between two states.
type Changes struct {
	Chart     *Versions `json:"chart,omitempty"` // nil if it stays
	Settings  []Setting `json:"settings"`        // by key
	Objects   []Object  `json:"objects"`         // in the order of the manifests, removed ones last
	Unchanged int       `json:"unchanged"`       // objects that stay as they are
}

// Versions are the versions of the old and the new chart.
type Versions struct {
	Old string `json:"old"`
	New string `json:"new"`
}

// Compare compares two states. Objects carry a diff only if diffs is set.
func Compare(before, after State, diffs bool) (Changes, error) {
	c := Changes{Settings: []Setting{}, Objects: []Object{}}
	if from, to := before.Chart.Version(), after.Chart.Version(); from != to {
		c.Chart = &Versions{from, to}
	}
	if err := c.compareSettings(before, after); err != nil {
		return c, err
	}
	return c, c.compareObjects(before.Rendered, after.Rendered, diffs)
}

// Empty reports whether nothing differs.
func (c Changes) Empty() bool { return c.Chart == nil && len(c.Settings) == 0 && len(c.Objects) == 0 }
