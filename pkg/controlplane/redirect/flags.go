package redirect

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// BindFlags adds the init container's flags to flags. Parsing them sets r, whose current values are
// the defaults.
func (r *Rules) BindFlags(flags *pflag.FlagSet) {
	flags.Uint32Var(&r.ProxyUID, "proxy-uid", r.ProxyUID, "user whose own connections are not redirected")
	flags.Uint16Var(&r.InboundPort, "inbound-port", r.InboundPort, "port of the proxy's inbound listener")
	flags.Uint16Var(&r.OutboundPort, "outbound-port", r.OutboundPort, "port of the proxy's outbound listener")
	flags.Var(newList(&r.ExcludeInboundPorts, parsePort), "exclude-inbound-ports", "comma-separated ports that bypass the proxy on the way in")
	flags.Var(newList(&r.ExcludeOutboundPorts, parsePort), "exclude-outbound-ports", "comma-separated ports that bypass the proxy on the way out")
	flags.Var(newList(&r.ExcludeOutboundRanges, netip.ParsePrefix), "exclude-outbound-ranges", "comma-separated CIDRs that bypass the proxy")
	flags.Var(newList(&r.IncludeOutboundRanges, netip.ParsePrefix), "include-outbound-ranges", "comma-separated CIDRs; when set, only these go through the proxy")
	flags.Var(newList(&r.ExcludeInterfaces, parseName), "exclude-interfaces", "comma-separated interfaces whose traffic bypasses the proxy")
}

// Args returns the flags from which BindFlags reads r back; empty lists are omitted.
func (r Rules) Args() []string {
	args := []string{
		fmt.Sprintf("--proxy-uid=%d", r.ProxyUID),
		fmt.Sprintf("--inbound-port=%d", r.InboundPort),
		fmt.Sprintf("--outbound-port=%d", r.OutboundPort),
	}
	add := func(flag, value string) {
		if value != "" {
			args = append(args, flag+"="+value)
		}
	}
	add("--exclude-inbound-ports", join(r.ExcludeInboundPorts))
	add("--exclude-outbound-ports", join(r.ExcludeOutboundPorts))
	add("--exclude-outbound-ranges", join(r.ExcludeOutboundRanges))
	add("--include-outbound-ranges", join(r.IncludeOutboundRanges))
	add("--exclude-interfaces", join(r.ExcludeInterfaces))
	return args
}

// list is a flag with comma-separated values. If it is given twice, the second replaces the first.
type list[T any] struct {
	values *[]T
	parse  func(string) (T, error)
}

func newList[T any](values *[]T, parse func(string) (T, error)) *list[T] {
	return &list[T]{values: values, parse: parse}
}

// Set implements pflag.Value.
func (l *list[T]) Set(text string) error {
	values := []T{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		value, err := l.parse(part)
		if err != nil {
			return err
		}
		values = append(values, value)
	}
	*l.values = values
	return nil
}

// String implements pflag.Value.
func (l *list[T]) String() string {
	if l.values == nil {
		return ""
	}
	return join(*l.values)
}

// Type implements pflag.Value.
func (l *list[T]) Type() string { return "list" }

func parsePort(text string) (uint16, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("%q is not a port: want 1 to 65535", text)
	}
	return uint16(port), nil
}

func parseName(text string) (string, error) {
	if text == "" {
		return "", errors.New("empty name")
	}
	return text, nil
}

func join[T any](values []T) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ",")
}
