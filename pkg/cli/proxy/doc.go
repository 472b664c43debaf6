// Package proxy is osm proxy get and osm proxy get-config: what the Envoy of a pod answers on its admin interface.
//
// It only reads. The pod is not trusted: its answers are bounded, checked for their type and escaped on a terminal. Its
// invariant: no private key is ever printed.
package proxy
