package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// File is one file of an image.
type File struct {
	// Path is absolute and slash-separated, inside the image.
	Path string
	// Source is the file on this machine; symbolic links are followed.
	Source string
	// Mode is the permission bits in the image, whatever Source has.
	Mode os.FileMode
}

// Spec describes what an image holds and how it starts.
type Spec struct {
	// Files of the image; their order does not matter.
	Files []File
	// Entrypoint and Cmd are as in a Dockerfile's exec form.
	Entrypoint []string
	Cmd        []string
	// User is the numeric "uid:gid" that the container runs as.
	User string
	// Labels are the OCI annotations of the image's configuration.
	Labels map[string]string
	// Arch is the GOARCH of the files; the operating system is always linux.
	Arch string
	// Created is the image's date. It is part of the digest, so it must come from the sources
	// (a commit's date) and never from the clock.
	Created time.Time
}

// Build creates the image that spec describes.
func Build(spec Spec) (v1.Image, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	content, err := archive(spec.Files, spec.Created)
	if err != nil {
		return nil, err
	}
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	layer, err := tarball.LayerFromOpener(opener, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("make layer: %w", err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.Append(base, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: spec.Created}, CreatedBy: "osm tools/images"},
	})
	if err != nil {
		return nil, fmt.Errorf("append layer: %w", err)
	}
	built, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	img, err = mutate.ConfigFile(img, spec.configure(built))
	if err != nil {
		return nil, fmt.Errorf("set configuration: %w", err)
	}
	return img, nil
}

func (s Spec) validate() error {
	switch {
	case len(s.Files) == 0:
		return errors.New("image without files: name at least one")
	case len(s.Entrypoint) == 0:
		return errors.New("image without entrypoint: name the program that it starts")
	case s.Arch == "":
		return errors.New("image without arch: use a GOARCH value such as amd64")
	case s.User == "":
		return errors.New(`image without user: use a numeric "uid:gid"; "0:0" has to be spelled`)
	}
	for _, f := range s.Files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path {
			return fmt.Errorf("image path %q: must be absolute and clean", f.Path)
		}
	}
	return nil
}

// configure returns a copy of built with everything that the spec decides filled in; the layers'
// digests stay as they are.
func (s Spec) configure(built *v1.ConfigFile) *v1.ConfigFile {
	config := built.DeepCopy()
	config.OS = "linux"
	config.Architecture = s.Arch
	config.Created = v1.Time{Time: s.Created}
	config.Config = v1.Config{
		Entrypoint: s.Entrypoint,
		Cmd:        s.Cmd,
		User:       s.User,
		Labels:     s.Labels,
		WorkingDir: "/",
	}
	return config
}

// archive returns an uncompressed tar of files and of the directories above them, sorted, owned by
// root and dated at created.
func archive(files []File, created time.Time) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, dir := range parents(files) {
		header := &tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: created, Format: tar.FormatPAX}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("add directory %s: %w", dir, err)
		}
	}
	sorted := slices.SortedFunc(slices.Values(files), func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	for _, f := range sorted {
		if err := add(w, f, created); err != nil {
			return nil, fmt.Errorf("add %s from %s: %w", f.Path, f.Source, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("close layer: %w", err)
	}
	return buf.Bytes(), nil
}

func add(w *tar.Writer, f File, created time.Time) error {
	content, err := os.ReadFile(f.Source)
	if err != nil {
		return err
	}
	header := &tar.Header{
		Typeflag: tar.TypeReg,
		Name:     strings.TrimPrefix(f.Path, "/"),
		Mode:     int64(f.Mode.Perm()),
		Size:     int64(len(content)),
		ModTime:  created,
		Format:   tar.FormatPAX,
	}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = w.Write(content)
	return err
}

// parents lists every directory above files, without the root and without leading slashes; a
// directory comes before those in it.
func parents(files []File) []string {
	seen := map[string]bool{}
	for _, f := range files {
		for dir := path.Dir(f.Path); dir != "/"; dir = path.Dir(dir) {
			seen[strings.TrimPrefix(dir, "/")] = true
		}
	}
	dirs := make([]string, 0, len(seen))
	for dir := range seen {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	return dirs
}
