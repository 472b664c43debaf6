package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite golden files")

func example() *Report {
	r := &Report{
		Machine: Machine{CPUs: 2, Model: "a model", Memory: "1024 kB", Kernel: "6.1", Go: "go1.26", Commit: "abc", Load: "0.01"},
		Server:  "/bin/server", Began: time.Unix(0, 0).UTC(),
	}
	r.Judge("onboard-1000", "server CPU per proxy", 1.2345, "ms", 2)
	r.Judge("onboard-1000", "RSS", 312.2, "MiB", 200)
	r.Judge("unseen", "messages", 0, "", 0)
	r.Judge("unseen", "bytes", 17, "B", 0)
	r.Add("onboard-1000", "goroutines", 5083, "")
	return r
}

func TestTextAndJSON(t *testing.T) {
	for name, print := range map[string]func(*Report, *bytes.Buffer) error{
		"report.txt":  func(r *Report, b *bytes.Buffer) error { return r.Text(b) },
		"report.json": func(r *Report, b *bytes.Buffer) error { return r.JSON(b) },
	} {
		var got bytes.Buffer
		if err := print(example(), &got); err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != string(want) {
			t.Errorf("%s differs; run with -update if this is intended:\n%s", name, got.String())
		}
	}
	if over := example().Over(); over != 2 {
		t.Errorf("%d figures are over, want 2", over)
	}
}

func TestJSONIsReadBack(t *testing.T) {
	var out bytes.Buffer
	if err := example().JSON(&out); err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Rows) != 5 || *got.Rows[1].Goal != 200 || got.Rows[4].Goal != nil || got.Machine.CPUs != 2 {
		t.Errorf("got %+v", got)
	}
}

func TestWithUnit(t *testing.T) {
	for value, want := range map[float64]string{0: "0 s", 12: "12 s", 0.00123456: "0.00123 s", 1.23456: "1.23 s", 123.456: "123 s", 5083.4: "5083 s", -0.5: "-0.500 s"} {
		if got := withUnit(value, "s"); got != want {
			t.Errorf("%v is printed as %q, want %q", value, got, want)
		}
	}
}

func TestQuantileAndMedian(t *testing.T) {
	values := []time.Duration{5, 1, 4, 2, 3}
	for q, want := range map[float64]time.Duration{0: 1, 0.2: 1, 0.21: 2, 0.5: 3, 0.99: 5, 1: 5} {
		if got := Quantile(values, q); got != want {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
	if Quantile(nil, 0.5) != 0 || Median(nil) != 0 {
		t.Error("no values have a quantile")
	}
	if Median([]float64{3, 1, 2}) != 2 || Median([]float64{4, 1, 2, 3}) != 2.5 {
		t.Error("median is wrong")
	}
}

func TestGoldenCounts(t *testing.T) {
	counts := []Count{
		{"first step", "delta eds", 16, "messages"}, {"first step", "delta eds", 4336, "bytes"}, {"first step", "delta lds", 0, "bytes"},
		{"second: step", "delta sds", 10000, "bytes"}, {"second: step", "built eds", 2, "resources"},
	}
	var text strings.Builder
	if err := WriteCounts(&text, counts); err != nil {
		t.Fatal(err)
	}
	read, err := ReadCounts("# head\n\n" + text.String())
	if err != nil {
		t.Fatal(err)
	}
	if len(read) != 4 {
		t.Errorf("read %d counts, want those that are not zero", len(read))
	}
	if d := Differences(counts, read); len(d) != 0 {
		t.Errorf("the same counts differ: %v", d)
	}
	for _, bad := range []string{"a | b\n", "a | b | c bytes\n"} {
		if _, err := ReadCounts(bad); err == nil {
			t.Errorf("read %q", bad)
		}
	}
}

func TestDifferences(t *testing.T) {
	want := []Count{{"s", "delta eds", 100, "bytes"}, {"s", "delta sds", 1000, "bytes"}, {"s", "delta sds", 10, "messages"}, {"s", "built eds", 2, "resources"}}
	change := func(i int, n int64) []Count {
		got := append([]Count(nil), want...)
		got[i].N = n
		return got
	}
	tests := map[string]struct {
		got  []Count
		want string // part of the only difference
	}{
		"equal":              {want, ""},
		"one byte more":      {change(0, 101), "delta eds: 101 bytes, want 100"},
		"none":               {change(0, 0), "delta eds: 0 bytes, want 100"},
		"secret of luck":     {change(1, 1015), ""},
		"secret too large":   {change(1, 1030), "delta sds: 1030 bytes"},
		"secret too often":   {change(2, 11), "delta sds: 11 messages"},
		"metric is gone":     {want[:3], "built eds: 0 resources, want 2"},
		"world rebuilt":      {change(3, 200), "built eds: 200 resources, want 2"},
		"something new":      {append(change(0, 100), Count{"t", "delta cds", 1, "messages"}), "delta cds: 1 messages, want none"},
		"nothing, of no use": {append(change(0, 100), Count{"t", "delta cds", 0, "messages"}), ""},
	}
	for name, tt := range tests {
		got := Differences(tt.got, want)
		if tt.want == "" && len(got) != 0 || tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)) {
			t.Errorf("%s: got %v, want %q", name, got, tt.want)
		}
	}
}

func TestMachine(t *testing.T) {
	if got := field("processor\t: 0\nmodel name\t: A: CPU\n", "model name"); got != "A: CPU" {
		t.Errorf("got %q", got)
	}
	if got := field("", "model name"); got != "unknown" {
		t.Errorf("got %q", got)
	}
	if got := load("0.52 0.1 0.2 1/2 3\n"); got != "0.52" {
		t.Errorf("got %q", got)
	}
	if m := Here(t.Context(), "."); m.CPUs < 1 || m.Commit == "" || strings.Contains(m.String(), "\n") {
		t.Errorf("got %+v", m)
	}
}
