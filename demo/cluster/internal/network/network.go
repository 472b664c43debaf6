// Package network builds the cluster's LAN: a network namespace for the control plane that holds the bridge, one
// for each node, a cable from each to the bridge, and one cable to the host. It runs no daemon and writes no packet
// filter. Invariant: the host's own namespace receives one link and routes to it, and nothing else: no bridge, no
// rule, no sysctl.
package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/osm-edge/osm/demo/cluster/internal/plan"
)

const (
	namespaceDir = "/run/netns"
	bridge       = "br0"
	hostPort     = "host0"
	machineLink  = "eth0"
)

// Path is where the namespace of m can be entered.
func Path(c plan.Cluster, m plan.Machine) string { return filepath.Join(namespaceDir, c.Namespace(m)) }

// EnsureMaster builds the control plane's namespace with the bridge, and the host's cable to it.
func EnsureMaster(c plan.Cluster) error {
	m := c.Master()
	if err := ensureNamespace(c.Namespace(m)); err != nil {
		return err
	}
	// Frames between nodes cross this bridge. They must not be filtered a second time by the rules that kube-proxy
	// keeps here for the control plane, or conntrack would see half of each connection.
	sysctls := map[string]string{"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "0", "net/bridge/bridge-nf-call-ip6tables": "0"}
	if err := writeSysctls(Path(c, m), sysctls); err != nil {
		return err
	}
	return withHandle(Path(c, m), func(h *netlink.Handle, ns netns.NsHandle) error {
		if err := ensureBridge(h, c); err != nil {
			return fmt.Errorf("build bridge in %s: %w", c.Namespace(m), err)
		}
		if err := ensureHostCable(h, ns, c); err != nil {
			return fmt.Errorf("connect host to %s: %w", c.Namespace(m), err)
		}
		return nil
	})
}

func ensureBridge(h *netlink.Handle, c plan.Cluster) error {
	if err := ensureLink(h, &netlink.Bridge{LinkAttrs: attrs(bridge)}); err != nil {
		return err
	}
	if err := configure(h, bridge, c.Master().Addr); err != nil {
		return err
	}
	if err := up(h, "lo"); err != nil {
		return err
	}
	return route(h, bridge, netip.MustParsePrefix("0.0.0.0/0"), c.HostAddr())
}

func ensureHostCable(master *netlink.Handle, ns netns.NsHandle, c plan.Cluster) error {
	host, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer host.Close()
	veth := &netlink.Veth{LinkAttrs: attrs(c.HostLink()), PeerName: hostPort, PeerNamespace: netlink.NsFd(ns)}
	if err := ensureLink(host, veth); err != nil {
		return err
	}
	if err := plug(master, hostPort); err != nil {
		return err
	}
	if err := configure(host, c.HostLink(), c.HostAddr()); err != nil {
		return err
	}
	// ClusterIPs are reached through the control plane's kube-proxy.
	return route(host, c.HostLink(), c.ServiceNetwork(), c.Master().Addr)
}

// EnsureNode builds the namespace of node, its cable, and the routes to and from the pods of every other node.
func EnsureNode(c plan.Cluster, node plan.Machine) error {
	if err := ensureNamespace(c.Namespace(node)); err != nil {
		return err
	}
	if err := writeSysctls(Path(c, node), map[string]string{"net/ipv4/ip_forward": "1"}); err != nil {
		return err
	}
	if err := ensureNodeCable(c, node); err != nil {
		return fmt.Errorf("connect %s: %w", node.Name, err)
	}
	if err := routeToNode(c, node); err != nil {
		return fmt.Errorf("route to pods of %s: %w", node.Name, err)
	}
	return nil
}

func ensureNodeCable(c plan.Cluster, node plan.Machine) error {
	return withHandle(Path(c, node), func(inside *netlink.Handle, ns netns.NsHandle) error {
		err := withHandle(Path(c, c.Master()), func(master *netlink.Handle, _ netns.NsHandle) error {
			veth := &netlink.Veth{LinkAttrs: attrs(c.Port(node)), PeerName: machineLink, PeerNamespace: netlink.NsFd(ns)}
			if err := ensureLink(master, veth); err != nil {
				return err
			}
			return plug(master, c.Port(node))
		})
		if err != nil {
			return err
		}
		if err := up(inside, "lo"); err != nil {
			return err
		}
		if err := configure(inside, machineLink, node.Addr); err != nil {
			return err
		}
		if err := route(inside, machineLink, netip.MustParsePrefix("0.0.0.0/0"), c.HostAddr()); err != nil {
			return err
		}
		for _, other := range c.NodeList() {
			if other == node {
				continue
			}
			if err := route(inside, machineLink, other.PodCIDR, other.Addr); err != nil {
				return err
			}
		}
		return nil
	})
}

// routeToNode adds routes to the node's pods on the host and the control plane.
func routeToNode(c plan.Cluster, node plan.Machine) error {
	host, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer host.Close()
	if err := route(host, c.HostLink(), node.PodCIDR, node.Addr); err != nil {
		return err
	}
	return withHandle(Path(c, c.Master()), func(master *netlink.Handle, _ netns.NsHandle) error {
		return route(master, bridge, node.PodCIDR, node.Addr)
	})
}

// SetPlugged removes the node's cable from the bridge, or plugs it in again.
func SetPlugged(c plan.Cluster, node plan.Machine, plugged bool) error {
	err := withHandle(Path(c, c.Master()), func(master *netlink.Handle, _ netns.NsHandle) error {
		link, err := master.LinkByName(c.Port(node))
		if err != nil {
			return err
		}
		if plugged {
			return master.LinkSetUp(link)
		}
		return master.LinkSetDown(link)
	})
	if err != nil {
		return fmt.Errorf("switch port of %s: %w", node.Name, err)
	}
	return nil
}

// Plugged reports whether the node's cable is in the bridge and switched on.
func Plugged(c plan.Cluster, node plan.Machine) bool {
	var on bool
	err := withHandle(Path(c, c.Master()), func(master *netlink.Handle, _ netns.NsHandle) error {
		link, err := master.LinkByName(c.Port(node))
		on = err == nil && link.Attrs().Flags&net.FlagUp != 0
		return err
	})
	return err == nil && on
}

// Remove deletes the namespace of m, and with it the machine's links and rules. The last process in it must have ended.
func Remove(c plan.Cluster, m plan.Machine) error {
	path := Path(c, m)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount namespace %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove namespace: %w", err)
	}
	return nil
}

// RemoveHostLink deletes the host's cable. The kernel would do so itself, but only some time after the namespace
// was deleted.
func RemoveHostLink(c plan.Cluster) error {
	return removeLink(netlink.LinkByName, netlink.LinkDel, c.HostLink())
}

// RemovePort deletes the node's cable at once, as the kernel destroys namespaces lazily.
func RemovePort(c plan.Cluster, node plan.Machine) error {
	if !isNamespace(Path(c, c.Master())) {
		return nil
	}
	return withHandle(Path(c, c.Master()), func(master *netlink.Handle, _ netns.NsHandle) error {
		return removeLink(master.LinkByName, master.LinkDel, c.Port(node))
	})
}

// inside runs do on a thread of its own in the namespace at path. The thread is never reused: it ends with the
// goroutine.
func inside(path string, do func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		handle, err := netns.GetFromPath(path)
		if err != nil {
			result <- fmt.Errorf("open namespace %s: %w", path, err)
			return
		}
		defer handle.Close()
		if err := netns.Set(handle); err != nil {
			result <- fmt.Errorf("enter namespace %s: %w", path, err)
			return
		}
		result <- do()
	}()
	return <-result
}

func writeSysctls(namespace string, values map[string]string) error {
	return inside(namespace, func() error {
		for key, value := range values {
			// Without the module br_netfilter there is no such key and nothing to switch off.
			err := os.WriteFile("/proc/sys/"+key, []byte(value), 0o644)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("set %s in %s: %w", key, namespace, err)
			}
		}
		return nil
	})
}
