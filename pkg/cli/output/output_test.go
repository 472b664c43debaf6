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

// Duration never overstates the time.
func TestDuration(t *testing.T) {
	tests := []struct {
		d               time.Duration
		text, days, cut string
	}{
		{17*time.Hour + 4*time.Minute + 59*time.Second, "17 h 04 min", "17 h 04 min", "17h4m59s"},
		{4 * time.Hour, "4 h 00 min", "4 h 00 min", "4h"},
		{80*time.Hour + 20*time.Minute, "80 h 20 min", "3 days", "80h20m"},
		{48*time.Hour - 1, "47 h 59 min", "47 h 59 min", "47h59m59.999999999s"},
		{48 * time.Hour, "48 h 00 min", "2 days", "48h"},
		{time.Hour - time.Second, "59 min 59 s", "59 min 59 s", "59m59s"},
		{10 * time.Minute, "10 min 00 s", "10 min 00 s", "10m"},
		{100 * time.Minute, "1 h 40 min", "1 h 40 min", "1h40m"},
		{59*time.Second + 999*time.Millisecond, "59 s", "59 s", "59.999s"},
		{0, "0 s", "0 s", "0s"},
		{-90 * time.Second, "-1 min 30 s", "-1 min 30 s", "-1m30s"},
	}
	for _, tt := range tests {
		if got := output.Duration(tt.d); got != tt.text {
			t.Errorf("Duration(%s) = %q, want %q", tt.d, got, tt.text)
		}
		if got := output.Days(tt.d); got != tt.days {
			t.Errorf("Days(%s) = %q, want %q", tt.d, got, tt.days)
		}
		got := output.Compact(tt.d)
		if back, err := time.ParseDuration(got); got != tt.cut || err != nil || back != tt.d {
			t.Errorf("Compact(%s) = %q (%s, %v), want %q", tt.d, got, back, err, tt.cut)
		}
	}
}
