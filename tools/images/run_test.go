package main

import (
	"archive/tar"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// checkout creates a module with the two main packages that images contain.
func checkout(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	source := "package main\n\nvar version, gitCommit, buildDate string\n\nfunc main() { println(version, gitCommit, buildDate) }\n"
	for file, content := range map[string]string{
		"go.mod":                       "module example.test/osm\n\ngo 1.26.0\n",
		"cmd/osm-controlplane/main.go": source,
		"demo/cmd/bookstore/main.go":   source,
		"LICENSE":                      "Apache",
		"THIRD_PARTY_NOTICES":          "others",
	} {
		file = filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func images(t *testing.T, args ...string) string {
	t.Helper()
	var stdout strings.Builder
	if err := run(t.Context(), args, &stdout, io.Discard); err != nil {
		t.Fatal(err)
	}
	return stdout.String()
}

func TestPrintIsReproducible(t *testing.T) {
	flags := []string{"--print", "--only", "osm-demo,osm-controlplane", "--version", "v1", "--commit", "c", "--date", "2026-01-31T12:00:00+02:00"}
	first := images(t, append(flags, "--root", checkout(t))...)
	if second := images(t, append(flags, "--root", checkout(t))...); second != first {
		t.Errorf("two checkouts printed\n%s\nand\n%s", first, second)
	}
	want := regexp.MustCompile(`^osm-controlplane osm\.local/osm-controlplane:sha-([0-9a-f]{12}) sha256:([0-9a-f]{64})\nosm-demo osm\.local/osm-demo:sha-[0-9a-f]{12} sha256:[0-9a-f]{64}\n$`)
	match := want.FindStringSubmatch(first)
	if match == nil {
		t.Fatalf("printed\n%s\nwant lines like %s", first, want)
	}
	if !strings.HasPrefix(match[2], match[1]) {
		t.Errorf("tag %s is not the beginning of digest %s", match[1], match[2])
	}
}

// configOf checks what every image of this project has, and returns its configuration for further checks.
func configOf(t *testing.T, img v1.Image) v1.Config {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{"title", "description", "source", "version", "revision"} {
		if config.Config.Labels["org.opencontainers.image."+label] == "" {
			t.Errorf("label %s is missing: %v", label, config.Config.Labels)
		}
	}
	return config.Config
}

func TestControlPlaneArchive(t *testing.T) {
	out := t.TempDir()
	line := images(t, "--root", checkout(t), "--only", "osm-controlplane", "--out", out, "--tag", "v1")
	ref := name.MustParseReference("osm.local/osm-controlplane:v1").(name.Tag)
	if !strings.HasPrefix(line, "osm-controlplane osm.local/osm-controlplane:v1 sha256:") {
		t.Errorf("printed %q", line)
	}
	img, err := tarball.ImageFromPath(filepath.Join(out, "osm-controlplane.tar"), &ref)
	if err != nil {
		t.Fatal(err)
	}
	config := configOf(t, img)
	if config.User != "65532:65532" || len(config.Entrypoint) != 1 || config.Entrypoint[0] != "/osm-controlplane" || len(config.Cmd) != 0 {
		t.Errorf("user %q, entrypoint %v, cmd %v: want 65532:65532, [/osm-controlplane], none", config.User, config.Entrypoint, config.Cmd)
	}
	if got, want := filesOf(t, img), []string{"LICENSE", "THIRD_PARTY_NOTICES", "osm-controlplane"}; !slices.Equal(got, want) {
		t.Errorf("holds %q, want %q: the program and what must be passed on with it", got, want)
	}
}

// filesOf returns the names of an image's files, sorted.
func filesOf(t *testing.T, img v1.Image) (names []string) {
	t.Helper()
	content := mutate.Extract(img)
	defer content.Close()
	for r := tar.NewReader(content); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(names)
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			names = append(names, header.Name)
		}
	}
}

func TestPushedEnvoyStartsLikeUpstreams(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	self, err := os.Executable() // any ELF file stands in for Envoy
	if err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(server.URL, "http://")
	fields := strings.Fields(images(t, "--only", "osm-envoy", "--envoy", self, "--push", host+"/team"))
	if len(fields) != 3 || !strings.HasPrefix(fields[1], host+"/team/osm-envoy:") {
		t.Fatalf("printed %q, want name, reference and digest", fields)
	}
	ref, err := name.ParseReference(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := img.Digest(); err != nil || got.String() != fields[2] {
		t.Errorf("registry holds %s (%v), printed %s", got, err, fields[2])
	}
	config := configOf(t, img)
	if config.User != "1500:1500" || config.Entrypoint[0] != "/usr/local/bin/envoy" {
		t.Errorf("user %q, entrypoint %v: want 1500:1500, [/usr/local/bin/envoy]", config.User, config.Entrypoint)
	}
}

func TestRunRefuses(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"no destination":   {nil, "give --out DIR, --push REGISTRY or --print"},
		"two destinations": {[]string{"--out", "x", "--push", "y"}, "one at a time"},
		"unknown image":    {[]string{"--print", "--only", "osm-x"}, "choose from osm-cert-manager,osm-controlplane,osm-demo,osm-envoy,osm-openbao,osm-testapp"},
		"unknown date":     {[]string{"--print", "--date", "today"}, "--date"},
		"argument":         {[]string{"--print", "osm-demo"}, `argument "osm-demo"`},
		"no Envoy":         {[]string{"--print", "--only", "osm-envoy"}, "--envoy is empty"},
		"no OpenBao":       {[]string{"--print", "--only", "osm-openbao"}, "image osm-openbao: --openbao is empty: give the path that scripts/openbao.sh prints"},
		"no cert-manager":  {[]string{"--print", "--only", "osm-cert-manager"}, "--cert-manager is empty: give the path that scripts/certmanager.sh prints"},
		"not static":       {[]string{"--print", "--only", "osm-openbao", "--openbao", "/bin/sh"}, "/bin/sh needs shared libraries"},
		"no module":        {[]string{"--print", "--only", "osm-demo", "--root", "testdata/absent"}, "compile ./demo/cmd/bookstore"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), tt.args, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}
