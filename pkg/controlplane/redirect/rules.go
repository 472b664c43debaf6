package redirect

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/osm-edge/osm/pkg/api"
)

// maxInterfaceName is the kernel's IFNAMSIZ less the terminating zero.
const maxInterfaceName = 15

// Rules says which TCP connections of a network namespace go to Envoy. The zero value is not
// valid; Default is the value that an injected pod without any exclusion uses.
type Rules struct {
	// ProxyUID is the user whose connections are Envoy's own. It must not be 0, which would exempt root.
	ProxyUID uint32
	// InboundPort receives connections into the pod, OutboundPort those of its processes.
	InboundPort, OutboundPort uint16
	// ExcludeInboundPorts and ExcludeOutboundPorts are destination ports that bypass Envoy.
	ExcludeInboundPorts, ExcludeOutboundPorts []uint16
	// ExcludeOutboundRanges are destinations that bypass Envoy. They take precedence over IncludeOutboundRanges.
	ExcludeOutboundRanges []netip.Prefix
	// IncludeOutboundRanges, when not empty, are the only destinations that go to Envoy.
	IncludeOutboundRanges []netip.Prefix
	// ExcludeInterfaces are interfaces whose traffic bypasses Envoy, in both directions.
	ExcludeInterfaces []string
}

// Default returns the Rules of an injected pod without exclusions.
func Default() Rules {
	return Rules{ProxyUID: api.ProxyUID, InboundPort: api.PortEnvoyInbound, OutboundPort: api.PortEnvoyOutbound}
}

// Validate returns all errors in r, joined. They name the command's flags.
func (r Rules) Validate() error {
	var errs []error
	if r.ProxyUID == 0 {
		errs = append(errs, fmt.Errorf("--proxy-uid 0 would exempt all of root's traffic: want the proxy's own user, %d", api.ProxyUID))
	}
	if r.InboundPort == 0 || r.OutboundPort == 0 {
		errs = append(errs, errors.New("--inbound-port and --outbound-port must be 1 to 65535"))
	}
	if r.InboundPort == r.OutboundPort && r.InboundPort != 0 {
		errs = append(errs, fmt.Errorf("--inbound-port and --outbound-port are both %d: they must differ", r.InboundPort))
	}
	errs = append(errs, checkPorts("--exclude-inbound-ports", r.ExcludeInboundPorts), checkPorts("--exclude-outbound-ports", r.ExcludeOutboundPorts))
	errs = append(errs, checkRanges("--exclude-outbound-ranges", r.ExcludeOutboundRanges), checkRanges("--include-outbound-ranges", r.IncludeOutboundRanges))
	for _, name := range r.ExcludeInterfaces {
		errs = append(errs, checkInterface(name))
	}
	return errors.Join(errs...)
}

func checkPorts(flag string, ports []uint16) error {
	for _, port := range ports {
		if port == 0 {
			return fmt.Errorf("%s contains 0: ports are 1 to 65535", flag)
		}
	}
	return nil
}

func checkRanges(flag string, ranges []netip.Prefix) error {
	for _, p := range ranges {
		if !p.IsValid() || p.Addr().Is4In6() {
			return fmt.Errorf("%s contains %q: want a CIDR such as 10.0.0.0/8 or fd00::/8", flag, p)
		}
	}
	return nil
}

func checkInterface(name string) error {
	if name == "" || len(name) > maxInterfaceName || strings.ContainsAny(name, "/ \t\n\x00") {
		return fmt.Errorf("--exclude-interfaces contains %q: an interface's name has 1 to %d characters, no slash and no space", name, maxInterfaceName)
	}
	return nil
}
