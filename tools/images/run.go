package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/osm-edge/osm/tools/internal/image"
)

// options are the command line; each field is the flag of the same name.
type options struct {
	root, only, arch      string
	envoy                 string
	openbao, certManager  string
	registry, tag         string
	out, push             string
	print                 bool
	version, commit, date string

	names   []string  // parsed from only
	created time.Time // parsed from date
}

// result is one line of the output.
type result struct{ name, ref, digest string }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	opts, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "osm-images-")
	if err != nil {
		return fmt.Errorf("make a folder for binaries: %w", err)
	}
	defer os.RemoveAll(scratch)

	results := make([]result, len(opts.names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range opts.names {
		group.Go(func() (err error) {
			results[i], err = deliver(ctx, opts, name, scratch)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, r := range results {
		if _, err := fmt.Fprintln(stdout, r.name, r.ref, r.digest); err != nil {
			return fmt.Errorf("print result: %w", err)
		}
	}
	return nil
}

// deliver builds one image and delivers it to wherever the options say.
func deliver(ctx context.Context, opts options, name, scratch string) (result, error) {
	spec, err := catalogue()[name](ctx, opts, scratch)
	if err != nil {
		return result{}, err
	}
	img, err := image.Build(spec)
	if err != nil {
		return result{}, fmt.Errorf("build image %s: %w", name, err)
	}
	digest, err := img.Digest()
	if err != nil {
		return result{}, fmt.Errorf("digest of image %s: %w", name, err)
	}
	ref, err := image.Reference(cmp.Or(opts.push, opts.registry), name, opts.tag, img)
	if err != nil {
		return result{}, err
	}
	if opts.out != "" {
		if err := image.WriteArchive(filepath.Join(opts.out, name+".tar"), ref, img); err != nil {
			return result{}, err
		}
	}
	if opts.push != "" {
		if err := image.Push(ctx, ref, img); err != nil {
			return result{}, err
		}
	}
	return result{name: name, ref: ref.String(), digest: digest.String()}, nil
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	flags.SetOutput(stderr)
	all := slices.Sorted(maps.Keys(catalogue()))
	flags.StringVar(&o.root, "root", ".", "folder of the project's Go module")
	flags.StringVar(&o.only, "only", strings.Join(usual(), ","), "images to build, comma-separated: "+strings.Join(all, ", "))
	flags.StringVar(&o.arch, "arch", runtime.GOARCH, "GOARCH of the images")
	flags.StringVar(&o.envoy, "envoy", "", "Envoy binary for "+demoEnvoy)
	flags.StringVar(&o.openbao, "openbao", "", "OpenBao binary for "+openBao)
	flags.StringVar(&o.certManager, "cert-manager", "", "program with cert-manager's controllers for "+certManager)
	flags.StringVar(&o.registry, "registry", "osm.local", "first part of the images' names in archives")
	flags.StringVar(&o.tag, "tag", "", "tag of the images (empty: derived from each image's digest)")
	flags.StringVar(&o.out, "out", "", "write <folder>/<name>.tar docker archives")
	flags.StringVar(&o.push, "push", "", "push to this registry[/prefix]; it also replaces --registry")
	flags.BoolVar(&o.print, "print", false, "only build, and print the names")
	flags.StringVar(&o.version, "version", "dev", "version that the programs report")
	flags.StringVar(&o.commit, "commit", "unknown", "commit that the programs report")
	flags.StringVar(&o.date, "date", "1970-01-01T00:00:00Z", "date of the sources, RFC 3339; never the clock's, or digests differ")
	flags.Usage = func() {
		_, _ = fmt.Fprintln(stderr, "usage: images [--out DIR] [--push REGISTRY[/PREFIX]] [--print] [flags]; prints \"name reference digest\" a line")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("argument %q: images takes flags only", flags.Arg(0))
	}
	return o.complete(all)
}

// complete checks the options and fills in the parsed values.
func (o options) complete(all []string) (options, error) {
	if o.out == "" && o.push == "" && !o.print {
		return options{}, errors.New("nothing to do with the images: give --out DIR, --push REGISTRY or --print")
	}
	if o.out != "" && o.push != "" {
		return options{}, errors.New("--out and --push name images differently: use one at a time")
	}
	created, err := time.Parse(time.RFC3339, o.date)
	if err != nil {
		return options{}, fmt.Errorf("--date: want RFC 3339 such as 2026-01-31T12:00:00Z: %w", err)
	}
	o.created = created.UTC()
	for name := range strings.SplitSeq(o.only, ",") {
		if !slices.Contains(all, name) {
			return options{}, fmt.Errorf("--only: no image %q: choose from %s", name, strings.Join(all, ","))
		}
		o.names = append(o.names, name)
	}
	slices.Sort(o.names)
	o.names = slices.Compact(o.names)
	return o, nil
}
