package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// A content tag is tagPrefix and the first tagDigits of the digest, enough to tell builds apart by
// eye. Without the prefix some tags would be all digits, which YAML reads as numbers.
const (
	tagPrefix = "sha-"
	tagDigits = 12
)

// Reference names img as <registry>/<repository>:<tag>. An empty tag means one derived
// from the image's digest, so that different content always has a different name and nodes never keep a stale
// image under an old one.
func Reference(registry, repository, tag string, img v1.Image) (name.Tag, error) {
	if tag == "" {
		digest, err := img.Digest()
		if err != nil {
			return name.Tag{}, fmt.Errorf("digest of %s: %w", repository, err)
		}
		tag = tagPrefix + digest.Hex[:tagDigits]
	}
	ref, err := name.NewTag(registry+"/"+repository+":"+tag, name.StrictValidation)
	if err != nil {
		return name.Tag{}, fmt.Errorf("image name: %w", err)
	}
	return ref, nil
}

// WriteArchive writes img as a docker archive, which `ctr images import` and `docker load` accept,
// to file. The file appears complete or not at all.
func WriteArchive(file string, ref name.Tag, img v1.Image) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // images hold nothing secret
		return fmt.Errorf("make folder for %s: %w", ref, err)
	}
	part, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.part")
	if err != nil {
		return fmt.Errorf("write %s: %w", ref, err)
	}
	defer func() {
		if err != nil {
			_ = part.Close()
			_ = os.Remove(part.Name())
		}
	}()
	if err := tarball.Write(ref, img, part); err != nil {
		return fmt.Errorf("write %s to %s: %w", ref, file, err)
	}
	if err := part.Chmod(0o644); err != nil {
		return fmt.Errorf("write %s to %s: %w", ref, file, err)
	}
	if err := part.Close(); err != nil {
		return fmt.Errorf("write %s to %s: %w", ref, file, err)
	}
	if err := os.Rename(part.Name(), file); err != nil {
		return fmt.Errorf("write %s to %s: %w", ref, file, err)
	}
	return nil
}

// Push sends img to its registry, with the credentials that `docker login` and similar tools have
// stored. Layers that the registry already has are not sent again.
func Push(ctx context.Context, ref name.Tag, img v1.Image) error {
	if err := remote.Write(ref, img, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	return nil
}
