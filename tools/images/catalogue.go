package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/osm-edge/osm/tools/internal/image"
)

// nonRoot is the usual unprivileged user of distroless images; envoyUser is the uid that
// the mesh runs its sidecars as, which is also what exempts Envoy's traffic from redirection.
const (
	nonRoot   = "65532:65532"
	envoyUser = "1500:1500"
	envoyPath = "/usr/local/bin/envoy"
)

// The images that this command can build.
const (
	controlPlane = "osm-controlplane"
	demoApps     = "osm-demo"
	demoEnvoy    = "osm-envoy"
	testApp      = "osm-testapp"
	openBao      = "osm-openbao"
	certManager  = "osm-cert-manager"
)

// usual are the images that are built when none is named: all but those of the end-to-end tests and
// of the certificate providers that the demo may bring along.
func usual() []string { return []string{controlPlane, demoApps, demoEnvoy} }

// recipe makes the Spec of one image, with scratch as a folder for what it has to compile.
type recipe func(ctx context.Context, opts options, scratch string) (image.Spec, error)

// catalogue maps each image's name to its recipe.
func catalogue() map[string]recipe {
	return map[string]recipe{
		controlPlane: static(controlPlane, "./cmd/osm-controlplane", "control plane of the osm service mesh"),
		demoApps:     static(demoApps, "./demo/cmd/bookstore", "bookstore applications of the osm demo"),
		demoEnvoy:    envoy,
		testApp:      static(testApp, "./tests/e2e/testapp", "application of osm's end-to-end tests"),
		openBao:      given(openBao, "OpenBao", func(o options) (string, string) { return o.openbao, "--openbao" }, "scripts/openbao.sh"),
		certManager:  given(certManager, "cert-manager", func(o options) (string, string) { return o.certManager, "--cert-manager" }, "scripts/certmanager.sh"),
	}
}

// static is the recipe of an image FROM scratch that holds one Go program under its own name.
func static(name, pkg, description string) recipe {
	return func(ctx context.Context, opts options, scratch string) (image.Spec, error) {
		binary := filepath.Join(scratch, name)
		program := image.Program{Root: opts.root, Package: pkg, Arch: opts.arch, Variables: map[string]string{
			"main.version":   opts.version,
			"main.gitCommit": opts.commit,
			"main.buildDate": opts.date,
		}}
		if err := image.Compile(ctx, program, binary); err != nil {
			return image.Spec{}, err
		}
		spec := opts.spec(name, description)
		spec.Files = []image.File{{Path: "/" + name, Source: binary, Mode: 0o755}}
		if name == controlPlane { // the one that is distributed
			for _, licence := range []string{"LICENSE", "THIRD_PARTY_NOTICES"} {
				spec.Files = append(spec.Files, image.File{Path: "/" + licence, Source: filepath.Join(opts.root, licence), Mode: 0o644})
			}
		}
		spec.Entrypoint = []string{"/" + name}
		spec.User = nonRoot
		return spec, nil
	}
}

// given is the recipe of an image FROM scratch that holds a static third-party program:
// a certificate provider for a cluster that can pull no image.
func given(name, product string, flag func(options) (file, flag string), script string) recipe {
	return func(ctx context.Context, opts options, _ string) (image.Spec, error) {
		file, flag := flag(opts)
		if file == "" {
			return image.Spec{}, fmt.Errorf("image %s: %s is empty: give the path that %s prints, or exclude the image with --only", name, flag, script)
		}
		libraries, err := image.Libraries(ctx, file)
		if err != nil {
			return image.Spec{}, err
		}
		if len(libraries) > 0 {
			return image.Spec{}, fmt.Errorf("image %s: %s needs shared libraries: an image FROM scratch takes static binaries only", name, file)
		}
		spec := opts.spec(name, product+" as the certificate provider of the osm demo on a cluster without a registry")
		spec.Files = []image.File{{Path: "/" + name, Source: file, Mode: 0o755}}
		spec.Entrypoint = []string{"/" + name}
		spec.User = nonRoot
		return spec, nil
	}
}

// envoy is the recipe of the demo's sidecar: the official binary and the C library of this
// machine, laid out so that it starts like the upstream distroless image.
func envoy(ctx context.Context, opts options, _ string) (image.Spec, error) {
	if opts.envoy == "" {
		return image.Spec{}, fmt.Errorf("image %s: --envoy is empty: give the path that scripts/envoy.sh prints, or exclude the image with --only", demoEnvoy)
	}
	libraries, err := image.Libraries(ctx, opts.envoy)
	if err != nil {
		return image.Spec{}, err
	}
	spec := opts.spec(demoEnvoy, "Envoy as the sidecar of the osm demo on a cluster without a registry")
	spec.Files = []image.File{{Path: envoyPath, Source: opts.envoy, Mode: 0o755}}
	for _, library := range libraries {
		// 0755 because the loader is itself executed, and the rest may be.
		spec.Files = append(spec.Files, image.File{Path: filepath.Clean(library), Source: library, Mode: 0o755})
	}
	spec.Entrypoint = []string{envoyPath}
	spec.Cmd = []string{"-c", "/etc/envoy/envoy.yaml"}
	spec.User = envoyUser
	return spec, nil
}

// spec begins an image's Spec with what all images share.
func (o options) spec(name, description string) image.Spec {
	return image.Spec{
		Arch:    o.arch,
		Created: o.created,
		Labels: map[string]string{
			"org.opencontainers.image.title":       name,
			"org.opencontainers.image.description": description,
			"org.opencontainers.image.source":      "https://github.com/osm-edge/osm",
			"org.opencontainers.image.version":     o.version,
			"org.opencontainers.image.revision":    o.commit,
		},
	}
}
