package redirect_test

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/osm-edge/osm/pkg/api"
	"github.com/osm-edge/osm/pkg/controlplane/redirect"
	"github.com/osm-edge/osm/tests/redirecttest"
)

const (
	podIP, podIP6   = "10.77.0.2", "fd77::2"
	peerIP, peerIP6 = "10.77.0.1", "fd77::1"
	service         = "10.96.0.10:80"
	appUID          = 1000
	wait            = 3 * time.Second
)

// arrival is where a connection arrived and its original destination.
type arrival struct {
	listener string
	original string
	remote   net.Addr
}

// pod is a network namespace with an application on 8080 and listeners in place of the proxy, and a peer
// outside of it that discards all other traffic.
type pod struct {
	*redirecttest.Namespace
	peer     *redirecttest.Namespace
	arrivals chan arrival
}

func newPod(t *testing.T, rules redirect.Rules) *pod {
	t.Helper()
	p := &pod{Namespace: redirecttest.New(t), peer: redirecttest.New(t), arrivals: make(chan arrival, 16)}
	redirecttest.Connect(t, p.Namespace, p.peer, podIP+"/24", peerIP+"/24")
	p.IP(t, "address add "+podIP6+"/64 dev eth0 nodad")
	p.peer.IP(t, "address add "+peerIP6+"/64 dev eth0 nodad")
	p.IP(t, "route add default via "+peerIP)
	p.serve(t, p.Namespace, "outbound", ":15001")
	p.serve(t, p.Namespace, "inbound", ":15003")
	p.serve(t, p.Namespace, "app", ":8080")
	p.serve(t, p.Namespace, "metrics", ":15010")
	p.serve(t, p.Namespace, "ssh", ":22")
	p.serve(t, p.peer, "peer", ":80")
	p.serve(t, p.peer, "peer database", ":3306")
	p.apply(t, rules)
	return p
}

func (p *pod) apply(t *testing.T, rules redirect.Rules) {
	t.Helper()
	var err error
	p.Do(func() { err = redirect.Apply(rules) })
	if err != nil {
		t.Fatal(err)
	}
}

func (p *pod) serve(t *testing.T, n *redirecttest.Namespace, name, address string) {
	t.Helper()
	l := n.Listen(t, address)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.arrivals <- arrival{listener: name, original: originalDestination(conn), remote: conn.RemoteAddr()}
			_ = conn.Close()
		}
	}()
}

// originalDestination returns the connection's destination before it was redirected, which the kernel knows;
// for a connection that was not redirected, its local address.
func originalDestination(conn net.Conn) string {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err.Error()
	}
	local := conn.LocalAddr().(*net.TCPAddr)
	result := local.String()
	_ = raw.Control(func(fd uintptr) {
		if local.IP.To4() == nil {
			if sa, err := unix.GetsockoptIPv6MTUInfo(int(fd), unix.IPPROTO_IPV6, 80 /* IP6T_SO_ORIGINAL_DST */); err == nil {
				port := (*[2]byte)(unsafe.Pointer(&sa.Addr.Port))
				result = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr.Addr), uint16(port[0])<<8|uint16(port[1])).String()
			}
			return
		}
		if sa, err := unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, 80 /* SO_ORIGINAL_DST */); err == nil {
			a := sa.Multiaddr
			result = netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[4:8])), uint16(a[2])<<8|uint16(a[3])).String()
		}
	})
	return result
}

// from describes who opens a connection.
type from struct {
	outside bool
	uid     int
	bind    string
}

func (p *pod) dial(t *testing.T, who from, address string) arrival {
	t.Helper()
	n := p.Namespace
	if who.outside {
		n = p.peer
	}
	dialer := net.Dialer{Timeout: wait}
	if who.bind != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(who.bind)}
	}
	conn, err := n.Dial(dialer, address, who.uid)
	if err != nil {
		if errors.Is(err, unix.ECONNREFUSED) {
			return arrival{listener: "refused", original: address}
		}
		t.Fatalf("connect to %s: %v", address, err)
	}
	defer func() { _ = conn.Close() }()
	select {
	case a := <-p.arrivals:
		return a
	case <-time.After(wait):
		t.Fatalf("connection to %s did not arrive", address)
		return arrival{}
	}
}

func on(ip string, port int) string { return net.JoinHostPort(ip, strconv.Itoa(port)) }

func TestRedirect(t *testing.T) {
	app, envoy, outside := from{uid: appUID}, from{uid: api.ProxyUID}, from{outside: true}
	plain := redirect.Default()
	excluding := redirect.Default()
	excluding.ExcludeInboundPorts = []uint16{22}
	excluding.ExcludeOutboundPorts = []uint16{3306}
	ranges := redirect.Default()
	ranges.ExcludeOutboundRanges = []netip.Prefix{netip.MustParsePrefix(peerIP + "/32"), netip.MustParsePrefix(peerIP6 + "/128")}
	including := redirect.Default()
	including.IncludeOutboundRanges = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")}
	noInterface := redirect.Default()
	noInterface.ExcludeInterfaces = []string{"eth0"}
	otherInterface := redirect.Default()
	otherInterface.ExcludeInterfaces = []string{"eth"}

	tests := map[string]struct {
		rules   redirect.Rules
		who     from
		address string
		want    string
	}{
		"out: to any Service": {plain, app, service, "outbound"},
		"out: as root":        {plain, from{}, service, "outbound"},
		"out: IPv6":           {plain, app, on(peerIP6, 80), "outbound"},
		"out: the application to itself on loopback":   {plain, app, on("127.0.0.1", 8080), "app"},
		"out: the application to itself on ::1":        {plain, app, on("::1", 8080), "app"},
		"out: the application to the pod's own IP":     {plain, app, on(podIP, 8080), "app"},
		"out: Envoy to a peer":                         {plain, envoy, on(peerIP, 80), "peer"},
		"out: Envoy to the application":                {plain, envoy, on("127.0.0.1", 8080), "app"},
		"out: Envoy to its own pod, a call to self":    {plain, envoy, on(podIP, 8080), "inbound"},
		"out: Envoy to its own pod over IPv6":          {plain, envoy, on(podIP6, 8080), "inbound"},
		"out: Envoy to its own inbound listener":       {plain, envoy, on(podIP, 15003), "inbound"},
		"out: Envoy inbound to the application by IP":  {plain, from{uid: api.ProxyUID, bind: api.InboundBind}, on(podIP, 8080), "app"},
		"out: excluded port":                           {excluding, app, on(peerIP, 3306), "peer database"},
		"out: other than the excluded port":            {excluding, app, on(peerIP, 80), "outbound"},
		"out: excluded range":                          {ranges, app, on(peerIP, 80), "peer"},
		"out: excluded IPv6 range":                     {ranges, app, on(peerIP6, 80), "peer"},
		"out: beyond the excluded range":               {ranges, app, service, "outbound"},
		"out: included range":                          {including, app, service, "outbound"},
		"out: beyond the included range":               {including, app, on(peerIP, 80), "peer"},
		"out: excluded interface":                      {noInterface, app, on(peerIP, 80), "peer"},
		"out: excluded interface is no prefix":         {otherInterface, app, on(peerIP, 80), "outbound"},
		"in: to the application":                       {plain, outside, on(podIP, 8080), "inbound"},
		"in: to a port without a listener":             {plain, outside, on(podIP, 9999), "inbound"},
		"in: IPv6":                                     {plain, outside, on(podIP6, 8080), "inbound"},
		"in: to the outbound listener":                 {plain, outside, on(podIP, 15001), "inbound"},
		"in: to the metrics port":                      {plain, outside, on(podIP, 15010), "metrics"},
		"in: to the admin port":                        {plain, outside, on(podIP, 15000), "refused"},
		"in: excluded port":                            {excluding, outside, on(podIP, 22), "ssh"},
		"in: Envoy's call to self on an excluded port": {excluding, envoy, on(podIP, 22), "ssh"},
		"in: excluded interface":                       {noInterface, outside, on(podIP, 8080), "app"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t, tt.rules)
			got := p.dial(t, tt.who, tt.address)
			if got.listener != tt.want {
				t.Errorf("%s arrived at %q, want %q\n%s", tt.address, got.listener, tt.want, tt.rules)
			}
			if got.original != tt.address {
				t.Errorf("original destination is %s, want %s", got.original, tt.address)
			}
		})
	}
}

// TestApplyReplaces is a restarted init container: the second call leaves one table, not two
// copies of every rule, and different rules replace the first ones.
func TestApplyReplaces(t *testing.T) {
	p := newPod(t, redirect.Default())
	count := func() (n int) {
		p.Do(func() {
			conn, err := nftables.New()
			if err != nil {
				t.Error(err)
				return
			}
			chains, err := conn.ListChains()
			if err != nil {
				t.Error(err)
			}
			for _, c := range chains {
				rules, err := conn.GetRules(c.Table, c)
				if err != nil {
					t.Error(err)
				}
				n += len(rules)
			}
		})
		return n
	}
	before := count()
	p.apply(t, redirect.Default())
	if after := count(); after != before || before == 0 {
		t.Errorf("%d rules after the second call, want the %d of the first", after, before)
	}
	open := redirect.Default()
	open.IncludeOutboundRanges = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")}
	p.apply(t, open)
	if got := p.dial(t, from{uid: appUID}, on(peerIP, 80)); got.listener != "peer" {
		t.Errorf("after narrowing the rules a connection arrived at %q, want peer", got.listener)
	}
}

// TestApplyWithoutIPv6 applies rules on a host where IPv6 is disabled.
func TestApplyWithoutIPv6(t *testing.T) {
	n := redirecttest.New(t)
	n.IP(t, "-4 address add "+podIP+"/24 dev lo")
	n.Sysctl(t, "net/ipv6/conf/all/disable_ipv6", "1")
	var err error
	n.Do(func() { err = redirect.Apply(redirect.Default()) })
	if err != nil {
		t.Fatal(err)
	}
}

func TestApplyRefusesInvalidRules(t *testing.T) {
	if err := redirect.Apply(redirect.Rules{}); err == nil {
		t.Fatal("the zero Rules were applied")
	}
}
