// Package xds serves configuration to proxies: ADS, incremental (delta) and state of the world.
//
// It owns the streams and nothing else: what a proxy should have comes from an envoy.Config that
// the controller publishes, its secrets from ca, and who it is from its client certificate. The
// protocol itself is two plain state machines (deltaSession, sotwSession) that know no gRPC and
// remember what a proxy holds by pointing at the Sets that it was offered; responses are encoded
// resources that all streams share. Its invariant: a stream only ever carries what belongs to the
// identity that its certificate proved, and one slow or stuck proxy delays no other: each stream
// has at most one message on its way per type, and changes that happen meanwhile are merged.
//
// Many share a Server, and any of them may be hostile: Limits say what one may take. The gate bounds
// connections before a stream is accepted, accounts what a pod has and does, turns who is configured first,
// and notes what is logged and counted about those who want more.
package xds
