package redirect

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/osm-edge/osm/pkg/api"
)

// chainName is a chain of the table. The kernel's hooks call prerouting and output. Both go to inbound,
// since a pod that calls itself never passes prerouting.
type chainName string

const (
	chainPrerouting chainName = "prerouting"
	chainOutput     chainName = "output"
	chainInbound    chainName = "inbound"
)

// rule is one line of a chain: all matches must hold for the verdict.
type rule struct {
	chain   chainName
	matches []match
	verdict verdict
}

// verdict ends a chain's evaluation: exactly one field is set, or none, which returns.
type verdict struct {
	redirect uint16
	goTo     chainName
}

// matchKind is the part of a packet or socket that a match looks at.
type matchKind int

const (
	matchNotTCP matchKind = iota
	matchInInterface
	matchOutInterface
	matchUser
	matchPort
	matchSource
	matchDestination
	matchOtherDestination
)

// match is one condition; the kind determines which operand is used.
type match struct {
	kind   matchKind
	name   string
	number uint32
	prefix netip.Prefix
}

func notTCP() match                    { return match{kind: matchNotTCP} }
func inInterface(name string) match    { return match{kind: matchInInterface, name: name} }
func outInterface(name string) match   { return match{kind: matchOutInterface, name: name} }
func user(uid uint32) match            { return match{kind: matchUser, number: uid} }
func port(p uint16) match              { return match{kind: matchPort, number: uint32(p)} }
func source(p netip.Prefix) match      { return match{kind: matchSource, prefix: p} }
func destination(p netip.Prefix) match { return match{kind: matchDestination, prefix: p.Masked()} }
func otherDestination(p netip.Prefix) match {
	return match{kind: matchOtherDestination, prefix: p.Masked()}
}
func line(c chainName, v verdict, m ...match) rule { return rule{chain: c, matches: m, verdict: v} }

// proxyPorts are Envoy's own ports. Outbound is not among them: no client outside the pod may reach it.
func proxyPorts(inbound uint16) []uint16 {
	return []uint16{
		api.PortEnvoyAdmin, inbound, api.PortEnvoyMetrics,
		api.PortLivenessProbe, api.PortReadinessProbe, api.PortStartupProbe, api.PortLifecycleHooks, api.PortEnvoyReadyProbe,
	}
}

func loopbacks() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// plan turns Rules into the lines of the table, in the order in which the kernel evaluates them.
func plan(r Rules) []rule {
	lines := planPrerouting(r)
	lines = append(lines, planInbound(r)...)
	return append(lines, planOutput(r)...)
}

func planPrerouting(r Rules) []rule {
	lines := []rule{
		line(chainPrerouting, verdict{}, notTCP()),
		line(chainPrerouting, verdict{}, inInterface("lo")),
	}
	for _, name := range r.ExcludeInterfaces {
		lines = append(lines, line(chainPrerouting, verdict{}, inInterface(name)))
	}
	return append(lines, line(chainPrerouting, verdict{goTo: chainInbound}))
}

func planInbound(r Rules) []rule {
	var lines []rule
	for _, p := range append(proxyPorts(r.InboundPort), r.ExcludeInboundPorts...) {
		lines = append(lines, line(chainInbound, verdict{}, port(p)))
	}
	return append(lines, line(chainInbound, verdict{redirect: r.InboundPort}))
}

func planOutput(r Rules) []rule {
	lines := []rule{line(chainOutput, verdict{}, notTCP())}
	for _, name := range r.ExcludeInterfaces {
		lines = append(lines, line(chainOutput, verdict{}, outInterface(name)))
	}
	lines = append(lines, planProxy(r)...)
	lines = append(lines, line(chainOutput, verdict{}, outInterface("lo")))
	for _, p := range append(loopbacks(), r.ExcludeOutboundRanges...) {
		lines = append(lines, line(chainOutput, verdict{}, destination(p)))
	}
	for _, p := range r.ExcludeOutboundPorts {
		lines = append(lines, line(chainOutput, verdict{}, port(p)))
	}
	toProxy := verdict{redirect: r.OutboundPort}
	if len(r.IncludeOutboundRanges) == 0 {
		return append(lines, line(chainOutput, toProxy))
	}
	for _, p := range r.IncludeOutboundRanges {
		lines = append(lines, line(chainOutput, toProxy, destination(p)))
	}
	return lines
}

// planProxy handles Envoy's own connections. They pass, and so do those to the application at the pod's own
// IP, which come from api.InboundBind. The pod's calls to its own Service do not: Envoy then speaks mesh TLS
// to the pod's own address, over lo, and the inbound listener has to answer, not the application.
func planProxy(r Rules) []rule {
	bind := netip.MustParseAddr(api.InboundBind)
	lines := []rule{line(chainOutput, verdict{}, outInterface("lo"), source(netip.PrefixFrom(bind, bind.BitLen())))}
	for _, lo := range loopbacks() {
		lines = append(lines, line(chainOutput, verdict{goTo: chainInbound}, user(r.ProxyUID), outInterface("lo"), otherDestination(lo)))
	}
	return append(lines, line(chainOutput, verdict{}, user(r.ProxyUID)))
}

// String renders r as the nft program would list it, for logs and golden files.
func (r Rules) String() string {
	var b strings.Builder
	b.WriteString("table inet " + tableName + " {\n")
	last := chainName("")
	for _, l := range plan(r) {
		if l.chain != last {
			if last != "" {
				b.WriteString("  }\n")
			}
			b.WriteString("  chain " + string(l.chain) + " {\n" + hookText(l.chain))
			last = l.chain
		}
		b.WriteString("    " + l.String() + "\n")
	}
	b.WriteString("  }\n}\n")
	return b.String()
}

func hookText(c chainName) string {
	if c == chainInbound {
		return ""
	}
	return fmt.Sprintf("    type nat hook %s priority dstnat; policy accept;\n", c)
}

// String renders one rule in nft's syntax.
func (l rule) String() string {
	words := make([]string, 0, len(l.matches)+1)
	for _, m := range l.matches {
		words = append(words, m.String())
	}
	return strings.Join(append(words, l.verdict.String()), " ")
}

// String renders a verdict in nft's syntax.
func (v verdict) String() string {
	switch {
	case v.redirect != 0:
		return fmt.Sprintf("redirect to :%d", v.redirect)
	case v.goTo != "":
		return "goto " + string(v.goTo)
	}
	return "return"
}

// String renders a match in nft's syntax.
func (m match) String() string {
	switch m.kind {
	case matchNotTCP:
		return "meta l4proto != tcp"
	case matchInInterface:
		return fmt.Sprintf("iifname %q", m.name)
	case matchOutInterface:
		return fmt.Sprintf("oifname %q", m.name)
	case matchUser:
		return fmt.Sprintf("meta skuid %d", m.number)
	case matchPort:
		return fmt.Sprintf("tcp dport %d", m.number)
	case matchSource:
		return fmt.Sprintf("%s saddr %s", family(m.prefix), m.prefix)
	case matchDestination:
		return fmt.Sprintf("%s daddr %s", family(m.prefix), m.prefix)
	default:
		return fmt.Sprintf("%s daddr != %s", family(m.prefix), m.prefix)
	}
}

func family(p netip.Prefix) string {
	if p.Addr().Is4() {
		return "ip"
	}
	return "ip6"
}
