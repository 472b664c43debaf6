package charts_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Each testdata/NAME.values.yaml renders to testdata/NAME.golden.yaml, hooks included.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.values.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("looking for values files: %v, %v", inputs, err)
	}
	for _, input := range inputs {
		name := strings.TrimSuffix(filepath.Base(input), ".values.yaml")
		t.Run(name, func(t *testing.T) {
			got := renderText(t, fromFile(t, input))
			decode(t, got)
			golden := filepath.Join("testdata", name+".golden.yaml")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (rerun with -update if intended):\n%s", golden, diff)
			}
		})
	}
}

// A GitOps tool renders repeatedly and must see no change.
func TestRenderingTwiceIsIdentical(t *testing.T) {
	given := fromFile(t, "testdata/everything.values.yaml")
	first, second := renderText(t, given), renderText(t, given)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("second rendering differs:\n%s", diff)
	}
}

// Two renderings in one second would not show a clock, and none shows a cluster look-up; the functions must not occur.
func TestTemplatesAreReproducible(t *testing.T) {
	impure := regexp.MustCompile(`\b(lookup|now|ago|date\w*|rand\w+|uuidv4|gen[A-Z]\w+|shuffle|derivePassword|htpasswd|bcrypt|env|expandenv|getHostByName|encryptAES)\b`)
	action := regexp.MustCompile(`(?s)\{\{.*?\}\}`)
	comment := regexp.MustCompile(`(?s)/\*.*?\*/|"[^"]*"`)
	for _, file := range load(t).Templates {
		for _, call := range action.FindAllString(string(file.Data), -1) {
			if found := impure.FindString(comment.ReplaceAllString(call, "")); found != "" {
				t.Errorf("%s calls %s in %s", file.Name, found, call)
			}
		}
	}
}

func renderText(t *testing.T, given values) string {
	t.Helper()
	rel, err := render(t, given)
	if err != nil {
		t.Fatal(err)
	}
	return manifest(rel)
}
