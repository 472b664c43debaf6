package toolchain

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/osm-edge/osm/demo/cluster/internal/render"
)

// ImageFile is the name of the image's archive, next to the program that it contains.
const ImageFile = "image.tar"

// pack writes the image of the modules that run as pods: one static program on an empty file system.
func pack(m Module, dir string) error {
	tag, ok := map[string]string{"pause": render.PauseImage, "coredns": render.DNSImage, "metrics-server": render.MetricsImage}[m.Name]
	if !ok {
		return nil
	}
	ref, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(filepath.Join(dir, m.Programs()[0]))
	if err != nil {
		return err
	}
	img, err := image(m.Programs()[0], program)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(filepath.Join(dir, ImageFile), ref, img)
}

// image leaves its layer uncompressed, because it is unpacked far more often than it is stored.
func image(program string, content []byte) (v1.Image, error) {
	layer, err := layerOf(program, content)
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer(layer, types.DockerUncompressedLayer))
	if err != nil {
		return nil, fmt.Errorf("append layer: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read image config: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.Entrypoint = []string{"/" + program}
	return mutate.ConfigFile(img, config)
}

func layerOf(program string, content []byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: program, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))}); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	if _, err := w.Write(content); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	return out.Bytes(), nil
}
