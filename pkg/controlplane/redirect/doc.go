// Package redirect makes a pod's TCP traffic pass through the Envoy beside the application: one
// nftables table, written over netlink by the init container before anything else runs.
//
// It is not a firewall and not a DNS proxy: UDP and everything else but TCP passes untouched, and
// what the exclusions name bypasses the mesh. Its invariant: a network namespace holds either the
// whole table "osm" of one Rules value or none of it, because every change is one transaction;
// applying the same Rules twice, as a restarted init container does, changes nothing.
//
// IPv6 is redirected like IPv4. Where Envoy listens on IPv4 only, IPv6 connections are therefore
// refused instead of slipping past the mesh's authentication.
package redirect
