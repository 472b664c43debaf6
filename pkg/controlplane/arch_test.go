package controlplane_test

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/osm-edge/osm/"

// rule forbids imports below one path to packages below another, with the reason.
type rule struct {
	from   string   // package or folder, below the module
	except []string // packages below from that may
	banned []string // import path prefixes
	why    string
}

func rules() []rule {
	kubernetes := []string{"k8s.io/", "sigs.k8s.io/"}
	protos := []string{"github.com/envoyproxy/", "github.com/cncf/xds/"}
	outside := []string{"os", "io/fs", "io/ioutil", "embed", "net/http", "syscall", "log", "math/rand", "crypto/rand", "plugin"}
	pure := []string{module + "pkg/controlplane/kube", module + "pkg/controlplane/xds", module + "pkg/controlplane/ca", module + "pkg/controlplane/serve", module + "pkg/controlplane/coalesce", module + "pkg/controlplane/wake"}
	return []rule{
		{from: "pkg/controlplane/identity", banned: outside, why: "an identity is what its text says"},
		{from: "pkg/controlplane/mesh", banned: outside, why: "a snapshot is what the API server holds"},
		{from: "pkg/controlplane/ingest", banned: outside, why: "a snapshot is computed from objects alone: no file, environment, network or chance"},
		{from: "pkg/controlplane/policy", banned: outside, why: "policy is computed from a snapshot alone: no file, environment, network or chance"},
		{from: "pkg/controlplane/envoy", banned: outside, why: "configuration is computed from policy alone: no file, environment, network or chance"},
		{from: "pkg/controlplane/rotation", except: []string{"pkg/controlplane/rotation/driver", "pkg/controlplane/rotation/collect"}, banned: outside, why: "a rotation is planned on evidence alone"},
		{from: "pkg/controlplane/identity", banned: []string{module, "k8s.io/", "github.com/", "google.golang.org/"}, why: "identity is the bottom: the standard library is all it needs"},
		{from: "pkg/controlplane/mesh", banned: append(append([]string{}, kubernetes...), protos...), why: "the vocabulary belongs to neither end of the pipeline"},
		{from: "pkg/controlplane/policy", banned: append(append([]string{}, kubernetes...), protos...), why: "decisions are taken on the mesh's own words"},
		{from: "pkg/controlplane/envoy", banned: append(append([]string{}, kubernetes...), pure...), why: "configuration is a pure function of policy"},
		{from: "pkg/controlplane/ingest", banned: append(append([]string{"k8s.io/client-go/"}, protos...), pure...), why: "ingest reads objects, not a cluster"},
		{from: "pkg/controlplane/policy", banned: pure, why: "policy is pure"},
		{from: "pkg/controlplane/rotation", except: []string{"pkg/controlplane/rotation/driver", "pkg/controlplane/rotation/collect"}, banned: append([]string{"k8s.io/client-go/"}, pure...), why: "a rotation is planned on evidence alone; driver and collect are its edge"},
		{from: "pkg/controlplane/rebalance", banned: append(append(append([]string{}, kubernetes...), protos...), pure...), why: "a share is computed from counts; who is asked and who is moved is known elsewhere"},
		{from: "pkg/controlplane/mesh", banned: pure, why: "the vocabulary is pure"},
		{from: "pkg/", except: []string{"pkg/controlplane/envoy", "pkg/controlplane/xds", "pkg/controlplane/injector", "pkg/controlplane/ca"}, banned: protos, why: "only envoy and xds write configuration, the injector the bootstrap"},
		{from: "pkg/", except: []string{"pkg/cli/release"}, banned: []string{"helm.sh/"}, why: "Helm stays behind cli/release"},
		{from: "pkg/", except: []string{"pkg/cli/prompt"}, banned: []string{"github.com/AlecAivazis/survey"}, why: "questions are asked in cli/prompt, which never hangs without a terminal"},
		{from: "pkg/", except: []string{"pkg/controlplane/ca/vault"}, banned: []string{"github.com/openbao/"}, why: "Vault's client stays behind ca/vault"},
		{from: "pkg/", except: []string{"pkg/controlplane/provider"}, banned: []string{module + "pkg/controlplane/ca/tresor", module + "pkg/controlplane/ca/vault", module + "pkg/controlplane/ca/certmanager"}, why: "which provider signs is known to package provider only"},
		{from: "pkg/", except: []string{"pkg/controlplane/command"}, banned: []string{module + "pkg/controlplane/controller"}, why: "nobody imports the composition root but the command line"},
		{from: "pkg/controlplane", banned: []string{module + "pkg/cli"}, why: "the control plane does not know its installer"},
	}
}

type pkg struct {
	ImportPath string
	Dir        string
	Name       string
	Imports    []string
	GoFiles    []string
}

// TestImports holds the dependencies to one direction.
func TestImports(t *testing.T) {
	packages := list(t)
	for _, r := range rules() {
		matched := false
		for _, p := range packages {
			path := strings.TrimPrefix(p.ImportPath, module)
			if !below(path, r.from) {
				continue
			}
			matched = true
			if belowAny(path, r.except) {
				continue
			}
			for _, imported := range p.Imports {
				for _, banned := range r.banned {
					if strings.HasPrefix(imported, banned) {
						t.Errorf("%s imports %s: %s", path, imported, r.why)
					}
				}
			}
		}
		if !matched {
			t.Errorf("no package below %s: the rule %q guards nothing", r.from, r.why)
		}
	}
}

// TestPackagesAreDocumented asks for exactly one package comment, of more than a line, in each package.
func TestPackagesAreDocumented(t *testing.T) {
	for _, p := range list(t) {
		var comments []string
		for _, file := range p.GoFiles {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if parsed.Doc != nil {
				comments = append(comments, parsed.Doc.Text())
			}
		}
		switch {
		case len(comments) != 1:
			t.Errorf("%s has %d package comments, want one", p.ImportPath, len(comments))
		case p.Name != "main" && len(strings.Fields(comments[0])) < 15:
			t.Errorf("%s: the package comment says too little: what it is, what it is not, its invariant", p.ImportPath)
		}
	}
}

// TestMainsAreShort keeps logic out of the mains.
func TestMainsAreShort(t *testing.T) {
	mains, err := filepath.Glob("../../cmd/*/main.go")
	if err != nil || len(mains) == 0 {
		t.Fatalf("no mains: %v", err)
	}
	for _, file := range mains {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(string(text), "\n"); lines > 30 {
			t.Errorf("%s has %d lines, want at most 30", file, lines)
		}
	}
}

func below(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

func belowAny(path string, folders []string) bool {
	for _, folder := range folders {
		if below(path, folder) {
			return true
		}
	}
	return false
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Name,Imports,GoFiles", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var packages []pkg
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
