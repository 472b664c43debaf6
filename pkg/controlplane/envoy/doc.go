// Package envoy writes policy down as Envoy configuration.
//
// It is pure: from a snapshot's policies to clusters, endpoints, listeners and routes. It decides
// nothing (policy does) and serves nothing (xds does). Its invariant: equal policies give equal
// bytes, on every replica and in every process, so that a resource's version can be the hash of
// its content; and nothing that belongs to one identity's keys is in it, only the constant names
// of SDS secrets, so that whatever two proxies both may see is one resource.
package envoy
