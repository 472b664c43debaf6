package toolchain

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// tiny is a repository with one module without dependencies.
func tiny(t *testing.T, source string) (Toolchain, Module) {
	t.Helper()
	repo := t.TempDir()
	for name, content := range map[string]string{"m/go.mod": "module tiny\n\ngo 1.26.0\n", "m/hello/main.go": source} {
		path := filepath.Join(repo, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	chain := Toolchain{Repo: repo, Cache: filepath.Join(t.TempDir(), "cache")}
	return chain, Module{Name: "tiny", Dir: "m", Packages: []string{"./hello"}, LDFlags: "-s -w", Keyed: []string{"go.mod"}}
}

const hello = "package main\n\nfunc main() { println(\"hello\") }\n"

func TestBuildFillsTheCacheOnce(t *testing.T) {
	chain, m := tiny(t, hello)
	dir, err := chain.Build(context.Background(), m, nil)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(filepath.Join(dir, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	if _, built, err := chain.Path(context.Background(), m); err != nil || !built {
		t.Errorf("after Build, Path says built=%t, %v", built, err)
	}
	if _, err := chain.Build(context.Background(), m, nil); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(filepath.Join(dir, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("the second Build compiled again")
	}
}

func TestBuildCountsWhatItCompiles(t *testing.T) {
	// A package in no build cache on this machine: its source contains the folder's random name.
	chain, m := tiny(t, hello+"\nconst unique = "+strconv.Quote(t.TempDir())+"\n")
	pending, all, err := chain.Pending(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	if pending < 1 || pending > all {
		t.Errorf("%d of %d packages are pending, want at least the new one", pending, all)
	}
	compiled := 0
	if _, err := chain.Build(context.Background(), m, func() { compiled++ }); err != nil {
		t.Fatal(err)
	}
	if compiled < 1 || compiled > pending {
		t.Errorf("Build reported %d packages, Pending announced %d", compiled, pending)
	}
}

func TestCounterCountsOnlyPackages(t *testing.T) {
	var done int
	c := counter{packageDone: func() { done++ }}
	for _, part := range []string{"go: downloading example.com/m v1.0.0\ninternal/", "abi\n\n# tiny/hello\nhello/main.go:3: undefined: x\nruntime\n"} {
		if _, err := c.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if done != 2 {
		t.Errorf("counted %d packages, want internal/abi and runtime", done)
	}
	if !strings.Contains(c.text.String(), "undefined: x") {
		t.Error("a diagnostic was lost")
	}
}

func TestAFailedBuildLeavesNothing(t *testing.T) {
	chain, m := tiny(t, "package main\n\nfunc main() { nonsense }\n")
	_, err := chain.Build(context.Background(), m, nil)
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("got error %v, want the compiler's output", err)
	}
	entries, err := os.ReadDir(chain.Cache)
	if err != nil || len(entries) != 0 {
		t.Errorf("the cache holds %v, %v", entries, err)
	}
}

func TestInterruptedBuildIsReported(t *testing.T) {
	chain, m := tiny(t, hello)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := chain.compile(ctx, m, t.TempDir(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestKeyFollowsPinsAndFlags(t *testing.T) {
	chain, m := tiny(t, hello)
	key := func() string {
		k, err := chain.key(context.Background(), m)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := key()
	if again := key(); again != first {
		t.Errorf("one input has the keys %s and %s", first, again)
	}
	m.LDFlags = "-s"
	flags := key()
	if err := os.WriteFile(filepath.Join(chain.Repo, "m/go.mod"), []byte("module tiny\n\ngo 1.26.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if pins := key(); flags == first || pins == flags {
		t.Errorf("keys %s, %s and %s must differ", first, flags, pins)
	}
}

func TestHashSeparatesParts(t *testing.T) {
	if hash([][]byte{[]byte("ab"), []byte("c")}) == hash([][]byte{[]byte("a"), []byte("bc")}) {
		t.Error("moving a byte between parts does not change the hash")
	}
}

func TestModulesPinWhatTheyCompile(t *testing.T) {
	repo, err := FindRepository(mustGetwd(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range Modules() {
		if strings.HasPrefix(m.Packages[0], "./") {
			continue // our own sources, which import what they need
		}
		pins, err := os.ReadFile(filepath.Join(repo, m.Dir, "deps.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range m.Packages {
			if !strings.Contains(string(pins), `_ "`+p+`"`) {
				t.Errorf("%s/deps.go does not import %s", m.Dir, p)
			}
		}
	}
}

func TestFindRepositoryExplainsItself(t *testing.T) {
	_, err := FindRepository(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "--repo") {
		t.Errorf("got %v, want a mention of --repo", err)
	}
}

func TestImageHoldsTheProgramAndStartsIt(t *testing.T) {
	img, err := image("coredns", []byte("program"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/coredns"}, config.Config.Entrypoint); diff != "" {
		t.Error(diff)
	}
	files := mutate.Extract(img)
	defer files.Close()
	r := tar.NewReader(files)
	header, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if header.Name != "coredns" || header.FileInfo().Mode().Perm() != 0o755 || string(content) != "program" {
		t.Errorf("the layer holds %s (%v): %q", header.Name, header.FileInfo().Mode(), content)
	}
}

func mustGetwd(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAfterNamesWhatComesNext(t *testing.T) {
	if next := After("kubernetes"); len(next) == 0 || next[0] != "metrics-server" {
		t.Errorf("after kubernetes come %v, want metrics-server first", next)
	}
	if next := After("pause"); next != nil {
		t.Errorf("after the last module come %v", next)
	}
}
