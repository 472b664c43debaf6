package image

import (
	"flag"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

func TestParseLibraries(t *testing.T) {
	tests := map[string]struct {
		listing string
		want    []string
		err     string
	}{
		"as glibc prints it": {
			listing: "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007e)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007d)\n",
			want:    []string{"/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"},
		},
		"twice the same": {
			listing: "a.so => /lib/a.so (0x1)\nb.so => /lib/a.so (0x1)\n",
			want:    []string{"/lib/a.so"},
		},
		"nothing":       {listing: "\n"},
		"missing":       {listing: "\tlibx.so => not found\n", err: "libx.so => not found"},
		"relative path": {listing: "libx.so => ./libx.so (0x1)\n", err: "absolute path"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseLibraries([]byte(tt.listing))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error = %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("parseLibraries = %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

func FuzzParseLibraries(f *testing.F) {
	note := reach(f)
	f.Add([]byte("a.so => /lib/a.so (0x1)\n/lib64/ld.so (0x2)\nvdso (0x3)\n"))
	f.Add([]byte(" =>  (\n"))
	f.Add([]byte("libx.so => not found\n"))
	f.Add([]byte("libx.so => ./libx.so (0x1)\n"))
	f.Fuzz(func(t *testing.T, listing []byte) {
		libraries, err := parseLibraries(listing)
		note(err)
		if err != nil {
			return
		}
		if !slices.IsSorted(libraries) {
			t.Errorf("not sorted: %q", libraries)
		}
		for _, library := range libraries {
			if !filepath.IsAbs(library) {
				t.Errorf("not absolute: %q", library)
			}
		}
	})
}

// reach is the product's tests/reach in short, which this module cannot import: the seeds must hold an
// input that is accepted and one that is refused.
func reach(f *testing.F) (note func(error)) {
	var accepted, refused atomic.Int64
	f.Cleanup(func() {
		if flag.Lookup("test.fuzz").Value.String() == "" && (accepted.Load() == 0 || refused.Load() == 0) {
			f.Errorf("of the seeds %d are accepted and %d refused, want some of both", accepted.Load(), refused.Load())
		}
	})
	return func(err error) {
		if err == nil {
			accepted.Add(1)
			return
		}
		refused.Add(1)
	}
}
