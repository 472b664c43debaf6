package ingest

import "net/netip"

// reachable parses an address. reason says why clients in other pods cannot connect to it, "" if they can:
// in a client's pod, 127.0.0.1 is the client itself, and 169.254.169.254 is its node's metadata service.
func reachable(text string) (addr netip.Addr, reason string) {
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return addr, "not an IP address"
	case addr.Is4In6():
		return addr, "an IPv4 address written as IPv6"
	case addr.IsUnspecified():
		return addr, "the unspecified address"
	case addr.IsLoopback():
		return addr, "a loopback address"
	case addr.IsLinkLocalUnicast(), addr.Zone() != "":
		return addr, "a link-local address"
	case addr.IsMulticast():
		return addr, "a multicast address"
	case addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return addr, "the broadcast address"
	case addr.Is4() && addr.As4()[0] == 0:
		return addr, "an address of \"this network\""
	default:
		return addr, ""
	}
}
