package output_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/osm-edge/osm/pkg/cli/output"
	"github.com/osm-edge/osm/tests/reach"
)

func TestLine(t *testing.T) {
	for text, want := range map[string]string{
		"osm-controller-0":          "osm-controller-0",
		"größer, 日本, 🙂":             "größer, 日本, 🙂",
		`C:\new`:                    `C:\new`,
		"\x1b[2J\x1b]0;owned\a":     `\x1b[2J\x1b]0;owned\x07`,
		"ok\rERROR":                 `ok\rERROR`,
		"a\nosm installed":          `a\nosm installed`,
		"a\tb":                      `a\tb`,
		"\u009b31m":                 `\u009b31m`,
		"user\u202egnp.exe":         `user\u202egnp.exe`,
		"\u2066a\u2069\u200f\u061c": `\u2066a\u2069\u200f\u061c`,
		"a\u200bb\u2028c\ufeff":     `a\u200bb\u2028c\ufeff`,
		"\xff\xc3(":                 `\xff\xc3(`,
		"\U000e0041\x7f":            `\U000e0041\x7f`,
		"\ufffd":                    "\ufffd",
	} {
		if got := output.Line(text); got != want {
			t.Errorf("Line(%q) = %q, want %q", text, got, want)
		}
	}
	if got := output.Text("a\n\tb\r\x1b"); got != "a\n\tb\\r\\x1b" {
		t.Errorf("Text keeps line breaks and tabs and nothing else: got %q", got)
	}
}

// A table has one line per row and aligned columns, whatever its cells contain.
func TestGridHoldsHostileCells(t *testing.T) {
	var out strings.Builder
	grid := output.Grid{Header: []string{"NAME", "NOTE"}, Rows: [][]string{{"a\nfake   row", "x\ty"}, {"\x1b[1A\x1b[2K", "\rb"}}}
	if err := grid.Write(&out); err != nil {
		t.Fatal(err)
	}
	want := "NAME             NOTE\na\\nfake   row    x\\ty\n\\x1b[1A\\x1b[2K   \\rb\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestProgressHoldsHostileNames(t *testing.T) {
	var out strings.Builder
	output.NewProgress(&out, time.Now).Change("Deployment", "d\x1b[2K\r\ndone", 0, 1, false)
	if want := "waiting  Deployment d\\x1b[2K\\r\\ndone: 0/1 ready (0s)\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

type named string

func (n named) String() string { return string(n) }

func TestSprintf(t *testing.T) {
	got := output.Sprintf("%s|%q|%d|%s|%v|%s\n", "a\nb", "c\r", 7, errors.New("d\n\x1be"), named("f\ng"), output.Lines("h\ni\r"))
	if want := "a\\nb|\"c\\\\r\"|7|d\n\\x1be|f\\ng|h\ni\\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Nothing that a terminal interprets is left, cleaning is idempotent, and safe text does not change.
func FuzzLine(f *testing.F) {
	for _, seed := range []string{"", "osm", "\x1b[31m", "a\r\nb", "\u202e", "\xc3\x28", "\u009b", "日本", `\x1b`} {
		f.Add(seed)
	}
	outcomes := reach.All(f, "kept", "escaped")
	f.Fuzz(func(t *testing.T, text string) {
		line, lines := output.Line(text), output.Text(text)
		if line == text {
			outcomes.Note("kept")
		} else {
			outcomes.Note("escaped")
		}
		for _, r := range line {
			if !unicode.IsPrint(r) {
				t.Fatalf("Line(%q) = %q has %U", text, line, r)
			}
		}
		for _, r := range lines {
			if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
				t.Fatalf("Text(%q) = %q has %U", text, lines, r)
			}
		}
		if !utf8.ValidString(line) || !utf8.ValidString(lines) {
			t.Fatalf("%q: not UTF-8", text)
		}
		if output.Line(line) != line || output.Text(lines) != lines {
			t.Fatalf("%q: cleaning twice is not cleaning once", text)
		}
		if strings.Count(lines, "\n") != strings.Count(text, "\n") {
			t.Fatalf("Text(%q) = %q has another number of lines", text, lines)
		}
	})
}
