package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ensureNamespace creates the named namespace. A file that is not a namespace was left by an interrupted attempt or
// a reboot.
func ensureNamespace(name string) error {
	path := filepath.Join(namespaceDir, name)
	if isNamespace(path) {
		return nil
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("remove stale namespace file: %w", err)
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread stays in the new namespace and must end with this goroutine
		handle, err := netns.NewNamed(name)
		if err == nil {
			err = handle.Close()
		}
		result <- err
	}()
	if err := <-result; err != nil {
		return fmt.Errorf("make namespace %s: %w", name, err)
	}
	return nil
}

func isNamespace(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Type == unix.NSFS_MAGIC
}

func withHandle(path string, do func(*netlink.Handle, netns.NsHandle) error) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", path, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("open netlink in %s: %w", path, err)
	}
	defer h.Close()
	return do(h, ns)
}

func attrs(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

func ensureLink(h *netlink.Handle, link netlink.Link) error {
	if err := h.LinkAdd(link); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add link %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// plug makes the link called port an enabled port of the bridge.
func plug(h *netlink.Handle, port string) error {
	link, err := h.LinkByName(port)
	if err != nil {
		return fmt.Errorf("find link %s: %w", port, err)
	}
	br, err := h.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("find bridge: %w", err)
	}
	if err := h.LinkSetMaster(link, br); err != nil {
		return fmt.Errorf("plug %s into bridge: %w", port, err)
	}
	return h.LinkSetUp(link)
}

func configure(h *netlink.Handle, name string, addr netip.Addr) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if err := h.AddrReplace(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(addr, 24))}); err != nil {
		return fmt.Errorf("give %s the address %s: %w", name, addr, err)
	}
	return h.LinkSetUp(link)
}

func up(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	return h.LinkSetUp(link)
}

func route(h *netlink.Handle, name string, to netip.Prefix, via netip.Addr) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	err = h.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(to), Gw: net.IP(via.AsSlice())})
	if err != nil {
		return fmt.Errorf("route %s via %s: %w", to, via, err)
	}
	return nil
}

func removeLink(find func(string) (netlink.Link, error), remove func(netlink.Link) error, name string) error {
	link, err := find(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if err := remove(link); err != nil {
		return fmt.Errorf("remove link %s: %w", name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
