package output_test

import (
	"strings"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/cli/output"
)

func TestWrite(t *testing.T) {
	value := []map[string]string{{"name": "a"}}
	grid := output.Grid{Header: []string{"NAME", "NOTE"}, Rows: [][]string{{"a", ""}}}
	for format, want := range map[output.Format]string{
		output.Table: "NAME   NOTE\na      -\n",
		output.JSON:  "[\n  {\n    \"name\": \"a\"\n  }\n]\n",
		output.YAML:  "- name: a\n",
	} {
		var out strings.Builder
		if err := output.Write(&out, format, value, grid); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v; want %q", format, out.String(), err, want)
		}
	}
}

func TestFormatFlag(t *testing.T) {
	format := output.Table
	if err := format.Set("xml"); err == nil || format != output.Table {
		t.Errorf("Set(xml) = %v, format %s", err, format)
	}
	if err := format.Set("yaml"); err != nil || format != output.YAML {
		t.Errorf("Set(yaml) = %v, format %s", err, format)
	}
}

func TestProgress(t *testing.T) {
	now := time.Unix(0, 0)
	var out strings.Builder
	progress := output.NewProgress(&out, func() time.Time { return now })
	progress.Change("Deployment", "d", 0, 2, false)
	now = now.Add(1500 * time.Millisecond)
	progress.Change("Deployment", "d", 2, 2, true)
	if want := "waiting  Deployment d: 0/2 ready (0s)\ndone     Deployment d: 2/2 ready (1s)\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
