package image_test

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/osm-edge/osm/tools/internal/image"
)

var commitDate = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

// sample is a Spec with two files in folders of the test's own, written with the given mode.
func sample(t *testing.T, mode os.FileMode) image.Spec {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"a": "alpha", "b": "beta"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	return image.Spec{
		Files: []image.File{
			{Path: "/usr/bin/b", Source: filepath.Join(dir, "b"), Mode: 0o644},
			{Path: "/a", Source: filepath.Join(dir, "a"), Mode: 0o755},
		},
		Entrypoint: []string{"/a"},
		Cmd:        []string{"--flag"},
		User:       "65532:65532",
		Labels:     map[string]string{"org.opencontainers.image.title": "a"},
		Arch:       "arm64",
		Created:    commitDate,
	}
}

func build(t *testing.T, spec image.Spec) v1.Image {
	t.Helper()
	img, err := image.Build(spec)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digest(t *testing.T, img v1.Image) string {
	t.Helper()
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func TestDigestDependsOnContentOnly(t *testing.T) {
	first := digest(t, build(t, sample(t, 0o600)))

	// Other folder, other order, other mode on disk, later modification time: same image.
	again := sample(t, 0o755)
	slices.Reverse(again.Files)
	later := commitDate.Add(24 * time.Hour)
	if err := os.Chtimes(again.Files[0].Source, later, later); err != nil {
		t.Fatal(err)
	}
	if got := digest(t, build(t, again)); got != first {
		t.Errorf("digest of the same content = %s, want %s", got, first)
	}

	changes := map[string]func(*image.Spec){
		"content": func(s *image.Spec) {
			if err := os.WriteFile(s.Files[0].Source, []byte("gamma"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"mode":    func(s *image.Spec) { s.Files[0].Mode = 0o755 },
		"path":    func(s *image.Spec) { s.Files[0].Path = "/usr/bin/c" },
		"user":    func(s *image.Spec) { s.User = "0:0" },
		"arch":    func(s *image.Spec) { s.Arch = "amd64" },
		"created": func(s *image.Spec) { s.Created = later },
		"label":   func(s *image.Spec) { s.Labels["x"] = "y" },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			other := sample(t, 0o600)
			change(&other)
			if digest(t, build(t, other)) == first {
				t.Errorf("digest did not change with the %s", name)
			}
		})
	}
}

func TestConfiguration(t *testing.T) {
	img := build(t, sample(t, 0o600))
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != "arm64" || !config.Created.Equal(commitDate) {
		t.Errorf("platform and date = %s/%s %s, want linux/arm64 %s", config.OS, config.Architecture, config.Created, commitDate)
	}
	c := config.Config
	if !slices.Equal(c.Entrypoint, []string{"/a"}) || !slices.Equal(c.Cmd, []string{"--flag"}) || c.User != "65532:65532" {
		t.Errorf("entrypoint %v, cmd %v, user %q are not what the spec says", c.Entrypoint, c.Cmd, c.User)
	}
	if c.Labels["org.opencontainers.image.title"] != "a" {
		t.Errorf("labels = %v, want the title", c.Labels)
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.MediaType != types.OCIManifestSchema1 || manifest.Config.MediaType != types.OCIConfigJSON || manifest.Layers[0].MediaType != types.OCILayer {
		t.Errorf("media types %s, %s, %s: want OCI's", manifest.MediaType, manifest.Config.MediaType, manifest.Layers[0].MediaType)
	}
	if got := len(config.RootFS.DiffIDs); got != 1 {
		t.Errorf("configuration lists %d layers, want 1", got)
	}
}

func TestLayer(t *testing.T) {
	layers, err := build(t, sample(t, 0o600)).Layers()
	if err != nil {
		t.Fatal(err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := content.Close(); err != nil {
			t.Errorf("close layer: %v", err)
		}
	}()
	want := []string{"usr/ 755", "usr/bin/ 755", "a 755 alpha", "usr/bin/b 644 beta"}
	var got []string
	for r := tar.NewReader(content); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Gid != 0 || !header.ModTime.Equal(commitDate) {
			t.Errorf("%s: owner %d:%d, date %s; want 0:0 and %s", header.Name, header.Uid, header.Gid, header.ModTime, commitDate)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		line := header.Name + " " + header.FileInfo().Mode().Perm().String()
		line = strings.NewReplacer("-rwxr-xr-x", "755", "-rw-r--r--", "644").Replace(line)
		got = append(got, strings.TrimSpace(line+" "+string(body)))
	}
	if !slices.Equal(got, want) {
		t.Errorf("layer holds %q, want %q", got, want)
	}
}

func TestBuildRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(*image.Spec)
		want   string
	}{
		"no files":      {func(s *image.Spec) { s.Files = nil }, "without files"},
		"no entrypoint": {func(s *image.Spec) { s.Entrypoint = nil }, "without entrypoint"},
		"no user":       {func(s *image.Spec) { s.User = "" }, "without user"},
		"no arch":       {func(s *image.Spec) { s.Arch = "" }, "without arch"},
		"relative path": {func(s *image.Spec) { s.Files[0].Path = "usr/bin/b" }, "absolute"},
		"escaping path": {func(s *image.Spec) { s.Files[0].Path = "/../b" }, "clean"},
		"absent source": {func(s *image.Spec) { s.Files[0].Source += ".absent" }, "no such file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			spec := sample(t, 0o600)
			tt.change(&spec)
			if _, err := image.Build(spec); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Build error = %v, want one with %q", err, tt.want)
			}
		})
	}
}
