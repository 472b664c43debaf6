// Package redirect sends a pod's TCP traffic through the Envoy beside the application: one nftables table,
// which the init container writes over netlink before anything else runs.
//
// It is not a firewall and not a DNS proxy: everything but TCP passes untouched, and so does what the
// exclusions name. Its invariant: a network namespace holds either the whole table "osm" of one Rules value
// or nothing of it, because every change is one transaction. Applying the same Rules again, as a restarted
// init container does, changes nothing.
//
// IPv6 is redirected like IPv4. Where Envoy listens on IPv4 only, IPv6 connections are therefore
// refused instead of slipping past the mesh's authentication.
package redirect
