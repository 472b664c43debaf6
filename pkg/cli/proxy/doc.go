// Package proxy is osm proxy status, which asks the controllers about all proxies, and osm proxy get and get-config, which
// ask one pod's Envoy on its admin interface.
//
// It only reads. The pod is not trusted: its answers are bounded, checked for their type and escaped on a terminal. Its
// invariant: no private key is ever printed.
package proxy
