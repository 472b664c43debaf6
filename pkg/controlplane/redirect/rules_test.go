package redirect

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"github.com/osm-edge/osm/tests/reach"
)

var update = flag.Bool("update", false, "write golden files")

func full() Rules {
	r := Default()
	r.ExcludeInboundPorts = []uint16{22, 9100}
	r.ExcludeOutboundPorts = []uint16{3306}
	r.ExcludeOutboundRanges = []netip.Prefix{netip.MustParsePrefix("169.254.169.254/32"), netip.MustParsePrefix("fd00::/8")}
	r.IncludeOutboundRanges = []netip.Prefix{netip.MustParsePrefix("10.96.1.7/12")}
	r.ExcludeInterfaces = []string{"net1"}
	return r
}

func TestPlanGolden(t *testing.T) {
	for name, rules := range map[string]Rules{"default": Default(), "full": full()} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".nft")
			if *update {
				if err := os.WriteFile(file, []byte(rules.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), rules.String()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

func TestArgsRoundTrip(t *testing.T) {
	for name, want := range map[string]Rules{"default": Default(), "full": full()} {
		t.Run(name, func(t *testing.T) {
			got := Rules{}
			flags := pflag.NewFlagSet("redirect", pflag.ContinueOnError)
			got.BindFlags(flags)
			if err := flags.Parse(want.Args()); err != nil {
				t.Fatal(err)
			}
			prefixes := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
			if diff := cmp.Diff(want, got, prefixes, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	tests := map[string]struct {
		change func(*Rules)
		want   string
	}{
		"default is valid":   {func(*Rules) {}, ""},
		"everything set":     {func(r *Rules) { *r = full() }, ""},
		"zero value":         {func(r *Rules) { *r = Rules{} }, "--proxy-uid 0"},
		"no inbound port":    {func(r *Rules) { r.InboundPort = 0 }, "must be 1 to 65535"},
		"same ports":         {func(r *Rules) { r.InboundPort = r.OutboundPort }, "must differ"},
		"port zero":          {func(r *Rules) { r.ExcludeInboundPorts = []uint16{0} }, "--exclude-inbound-ports contains 0"},
		"invalid range":      {func(r *Rules) { r.ExcludeOutboundRanges = []netip.Prefix{{}} }, "--exclude-outbound-ranges"},
		"mapped range":       {func(r *Rules) { r.IncludeOutboundRanges = []netip.Prefix{netip.MustParsePrefix("::ffff:1.2.3.4/128")} }, "--include-outbound-ranges"},
		"long interface":     {func(r *Rules) { r.ExcludeInterfaces = []string{"a-very-long-name"} }, "--exclude-interfaces"},
		"interface of slash": {func(r *Rules) { r.ExcludeInterfaces = []string{"a/b"} }, "--exclude-interfaces"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := Default()
			tt.change(&r)
			err := r.Validate()
			if tt.want == "" && err != nil {
				t.Fatalf("got %v, want no error", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func FuzzFlags(f *testing.F) {
	f.Add("80,443", "10.0.0.0/8", "eth0")
	f.Add("0", "::/0", "")
	f.Add("65536", "1.2.3.4", "a,b")
	outcomes := reach.Both(f)
	f.Fuzz(func(t *testing.T, ports, ranges, names string) {
		r := Default()
		flags := pflag.NewFlagSet("redirect", pflag.ContinueOnError)
		r.BindFlags(flags)
		args := []string{"--exclude-inbound-ports=" + ports, "--exclude-outbound-ranges=" + ranges, "--exclude-interfaces=" + names}
		accepted := flags.Parse(args) == nil && r.Validate() == nil
		outcomes.OK(accepted)
		if !accepted {
			return
		}
		again := Default()
		flags = pflag.NewFlagSet("redirect", pflag.ContinueOnError)
		again.BindFlags(flags)
		if err := flags.Parse(r.Args()); err != nil {
			t.Fatalf("%q do not parse: %v", r.Args(), err)
		}
		if r.String() != again.String() {
			t.Errorf("%s\nread back as\n%s", r, again)
		}
	})
}
