package release_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/osm-edge/osm/pkg/cli/release"
)

// Precedence, for every combination of places that a value may come from.
func TestPrecedence(t *testing.T) {
	const key = "osm.image.tag"
	for mask := range 16 {
		stored, file, set, flag := mask&1 != 0, mask&2 != 0, mask&4 != 0, mask&8 != 0
		t.Run(fmt.Sprintf("stored=%t,file=%t,set=%t,flag=%t", stored, file, set, flag), func(t *testing.T) {
			layers, want := release.Layers{}, ""
			if stored {
				layers.Stored, want = tree("stored"), "stored"
			}
			if file {
				path := filepath.Join(t.TempDir(), "values.yaml")
				if err := os.WriteFile(path, []byte("osm: {image: {tag: file}}"), 0o600); err != nil {
					t.Fatal(err)
				}
				layers.Files, want = []string{path}, "file"
			}
			if set {
				layers.Sets, want = []string{key + "=set"}, "set"
			}
			if flag {
				layers.Flags, want = map[string]any{key: "flag"}, "flag"
			}
			merged, err := layers.Merge()
			if err != nil {
				t.Fatal(err)
			}
			if got := merged.String(key); got != want {
				t.Errorf("%s = %q, want %q", key, got, want)
			}
			if stored && layers.Stored.String(key) != "stored" {
				t.Errorf("the stored values were changed to %v", layers.Stored)
			}
		})
	}
}

func tree(tag string) release.Values {
	return release.Values{"osm": map[string]any{"image": map[string]any{"tag": tag}}}
}

// R12: an upgrade keeps the values that the user has set; all others follow the new chart.
func TestUpgradeValues(t *testing.T) {
	chart := func(oldDefault string) *release.Chart {
		return load(t, map[string]string{"values.yaml": "osm: {image: {tag: " + oldDefault + "}, meshName: osm}"})
	}
	tests := []struct {
		name         string
		stored       release.Values
		sets         []string
		before, then string
	}{
		{name: "never set", before: "v1", then: "v2"},
		{name: "set earlier", stored: tree("mine"), before: "mine", then: "mine"},
		{name: "set to the old default", stored: tree("v1"), before: "v1", then: "v1"},
		{name: "set now", stored: tree("mine"), sets: []string{"osm.image.tag=now"}, before: "mine", then: "now"},
		{name: "taken back", stored: tree("mine"), sets: []string{"osm.image.tag=null"}, before: "mine", then: ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, err := chart("v1").Effective(tt.stored)
			if err != nil {
				t.Fatal(err)
			}
			user, err := release.Layers{Stored: tt.stored, Sets: tt.sets}.Merge()
			if err != nil {
				t.Fatal(err)
			}
			then, err := chart("v2").Effective(user)
			if err != nil {
				t.Fatal(err)
			}
			got := []string{before.String("osm.image.tag"), then.String("osm.image.tag")}
			if diff := cmp.Diff([]string{tt.before, tt.then}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMergeRefuses(t *testing.T) {
	for _, layers := range []release.Layers{
		{Sets: []string{"=1"}},
		{Sets: []string{"osm"}},
		{Files: []string{filepath.Join(t.TempDir(), "missing")}},
	} {
		if merged, err := layers.Merge(); err == nil {
			t.Errorf("%+v: merged to %v, want an error", layers, merged)
		}
	}
}
