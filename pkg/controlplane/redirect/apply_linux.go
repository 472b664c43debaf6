package redirect

import (
	"fmt"
	"net"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const tableName = "osm"

// The register that every expression here loads into and compares.
const register = 1

// Offsets in the IPv4, IPv6 and TCP headers, in bytes.
const (
	offsetSource4, offsetDestination4, length4 = 12, 16, 4
	offsetSource6, offsetDestination6, length6 = 8, 24, 16
	offsetTCPDestination, lengthPort           = 2, 2
)

// Apply validates r and writes it to the network namespace of the calling thread. It replaces what an
// earlier call wrote, and needs CAP_NET_ADMIN there.
func Apply(r Rules) error {
	if err := r.Validate(); err != nil {
		return fmt.Errorf("redirection rules: %w", err)
	}
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables over netlink: %w", err)
	}
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	// Deleting a table that does not exist would fail the transaction, so it is added first.
	conn.AddTable(table)
	conn.DelTable(table)
	conn.AddTable(table)
	addLines(conn, table, plan(r))
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("write nftables table inet %s (needs NET_ADMIN and a kernel with nf_tables and NAT for the inet family, 5.2 or newer): %w", tableName, err)
	}
	return nil
}

func addLines(conn *nftables.Conn, table *nftables.Table, lines []rule) {
	chains := map[chainName]*nftables.Chain{
		chainInbound:    conn.AddChain(&nftables.Chain{Name: string(chainInbound), Table: table}),
		chainPrerouting: conn.AddChain(natChain(table, chainPrerouting, nftables.ChainHookPrerouting)),
		chainOutput:     conn.AddChain(natChain(table, chainOutput, nftables.ChainHookOutput)),
	}
	for _, l := range lines {
		conn.AddRule(&nftables.Rule{Table: table, Chain: chains[l.chain], Exprs: l.exprs()})
	}
}

func natChain(table *nftables.Table, name chainName, hook *nftables.ChainHook) *nftables.Chain {
	return &nftables.Chain{
		Name: string(name), Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: hook, Priority: nftables.ChainPriorityNATDest,
	}
}

func (l rule) exprs() []expr.Any {
	var exprs []expr.Any
	for _, m := range l.matches {
		exprs = append(exprs, m.exprs()...)
	}
	return append(exprs, l.verdict.exprs()...)
}

func (v verdict) exprs() []expr.Any {
	switch {
	case v.redirect != 0:
		return []expr.Any{
			&expr.Immediate{Register: register, Data: binaryutil.BigEndian.PutUint16(v.redirect)},
			&expr.Redir{RegisterProtoMin: register},
		}
	case v.goTo != "":
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: string(v.goTo)}}
	}
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}}
}

func (m match) exprs() []expr.Any {
	switch m.kind {
	case matchNotTCP:
		return metaIs(expr.MetaKeyL4PROTO, expr.CmpOpNeq, []byte{unix.IPPROTO_TCP})
	case matchInInterface:
		return metaIs(expr.MetaKeyIIFNAME, expr.CmpOpEq, interfaceName(m.name))
	case matchOutInterface:
		return metaIs(expr.MetaKeyOIFNAME, expr.CmpOpEq, interfaceName(m.name))
	case matchUser:
		return metaIs(expr.MetaKeySKUID, expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(m.number))
	case matchPort:
		return portIs(uint16(m.number)) //nolint:gosec // built from a uint16
	case matchSource:
		return m.address(offsetSource4, offsetSource6, expr.CmpOpEq)
	case matchDestination:
		return m.address(offsetDestination4, offsetDestination6, expr.CmpOpEq)
	default:
		return m.address(offsetDestination4, offsetDestination6, expr.CmpOpNeq)
	}
}

func metaIs(key expr.MetaKey, op expr.CmpOp, data []byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: register}, &expr.Cmp{Op: op, Register: register, Data: data}}
}

// interfaceName pads to the full field, so that "eth1" does not also match "eth10".
func interfaceName(name string) []byte {
	padded := make([]byte, maxInterfaceName+1)
	copy(padded, name)
	return padded
}

// portIs checks for TCP first: other protocols have something else at that offset.
func portIs(p uint16) []expr.Any {
	return append(metaIs(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{unix.IPPROTO_TCP}),
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: offsetTCPDestination, Len: lengthPort},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binaryutil.BigEndian.PutUint16(p)})
}

// address compares the masked address. It checks the family first, since the table sees both.
func (m match) address(offset4, offset6 uint32, op expr.CmpOp) []expr.Any {
	proto, offset, length := byte(unix.NFPROTO_IPV4), offset4, uint32(length4)
	if !m.prefix.Addr().Is4() {
		proto, offset, length = unix.NFPROTO_IPV6, offset6, length6
	}
	return append(metaIs(expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{proto}),
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: length, Mask: mask(m.prefix.Bits(), int(length)), Xor: make([]byte, length)},
		&expr.Cmp{Op: op, Register: register, Data: m.prefix.Addr().AsSlice()})
}

func mask(bits, length int) []byte { return net.CIDRMask(bits, length*8) }
