package image_test

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/osm-edge/osm/tools/internal/image"
)

func TestReference(t *testing.T) {
	img := build(t, sample(t, 0o600))
	hex := strings.TrimPrefix(digest(t, img), "sha256:")
	tests := map[string]struct{ registry, tag, want, err string }{
		"content tag": {registry: "osm.local", want: "osm.local/thing:sha-" + hex[:12]},
		"own tag":     {registry: "registry.test:5000/team/osm", tag: "v1", want: "registry.test:5000/team/osm/thing:v1"},
		"no registry": {registry: "", tag: "v1", err: "image name"},
		"bad tag":     {registry: "osm.local", tag: "a b", err: "image name"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ref, err := image.Reference(tt.registry, "thing", tt.tag, img)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error = %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil || ref.String() != tt.want {
				t.Errorf("Reference = %s, %v; want %s", ref, err, tt.want)
			}
		})
	}
}

func TestArchiveRoundTrip(t *testing.T) {
	img := build(t, sample(t, 0o600))
	ref, err := image.Reference("osm.local", "thing", "v1", img)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "new", "thing.tar")
	for range 2 {
		if err := image.WriteArchive(file, ref, img); err != nil {
			t.Fatal(err)
		}
	}
	read, err := tarball.ImageFromPath(file, &ref)
	if err != nil {
		t.Fatalf("read back under the exact name: %v", err)
	}
	want, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read.ConfigName(); err != nil || got != want {
		t.Errorf("configuration read back = %s, %v; want %s", got, err, want)
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Errorf("folder holds %v (%v), want the archive alone", entries, err)
	}
}

func TestPushRoundTrip(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	t.Setenv("DOCKER_CONFIG", t.TempDir())

	img := build(t, sample(t, 0o600))
	ref, err := image.Reference(strings.TrimPrefix(server.URL, "http://")+"/team", "thing", "", img)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // pushing an existing image succeeds as well
		if err := image.Push(t.Context(), ref, img); err != nil {
			t.Fatal(err)
		}
	}
	pulled, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := digest(t, pulled), digest(t, img); got != want {
		t.Errorf("pulled %s, pushed %s", got, want)
	}
}

func TestPushReportsFailure(t *testing.T) {
	server := httptest.NewServer(nil)
	host := strings.TrimPrefix(server.URL, "http://")
	server.Close()
	t.Setenv("DOCKER_CONFIG", t.TempDir())

	img := build(t, sample(t, 0o600))
	ref, err := image.Reference(host, "thing", "v1", img)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Push(t.Context(), ref, img); err == nil || !strings.Contains(err.Error(), "push "+host+"/thing:v1") {
		t.Errorf("Push error = %v, want one that names the image", err)
	}
}
