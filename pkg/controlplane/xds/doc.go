// Package xds serves configuration to proxies: ADS, incremental (delta) and state of the world.
//
// It owns the streams and nothing else. A proxy's resources come from an envoy.Config that the
// controller publishes, its secrets from ca, and its identity from its client certificate. Its
// invariant: a stream carries only what belongs to the identity that its certificate proved, and one
// slow or stuck proxy delays no other. Each stream has at most one unanswered message per type, and
// later changes are merged until it is answered.
//
// # How to read it
//
// Follow a proxy from its connection to a push:
//
//	connection   gate.go          TCP and TLS, bounded before any client is authenticated; frames.go: HTTP/2
//	stream       exchange.go      one gRPC stream: first request, accept, receive
//	             authenticate.go  who is it: certificate, node id, pod
//	             admit.go         may it stay: sync slot (syncslots.go), limits of its pod (accounts.go)
//	             stream.go        an accepted stream: its state, its goroutines, its end
//	session      delta.go         what the proxy subscribed to and holds: a plain state machine that
//	             deltasend.go     knows no gRPC and points at the Sets that the proxy was offered
//	             sotw.go          the same for the state-of-the-world variant
//	             offer.go         what a proxy should have, by kind
//	             rejection.go     what the proxy said about responses (ACK, NACK)
//	turn, push   publish.go       Server.Publish, Retrust and Reissue give streams a turn
//	             pacer.go         whose turn it is: stream.takeTurn compares with what was published
//	             stream.go        stream.push sends it
//	             response.go      encoded resources, shared by all streams that send them
//
// Certificates are separate: credential.go (a stream's workload certificate), secretsets.go (encoded
// leaves and trust bundles), evidence.go (what proxies acknowledged, which a root rotation waits for).
//
// Many proxies share a Server, and any of them may be hostile. Limits (limits.go) bound what one may take; what
// exceeds them is counted and logged by offenders.go, and ledger.go forgets pods and addresses that are idle.
package xds
