// Package fleet is many fake Envoys in one process: each has its own TLS connection to a control
// plane, sends the requests of an Envoy, acknowledges every response and reconnects when it is cut off.
//
// It is as cheap as possible, because it shares the machine with what it measures: responses are
// scanned, not decoded, and the references of a resource are read once for all proxies. It
// carries no traffic and rejects nothing. The protocol of one proxy is a plain state machine
// (delta, sotw) without a connection. Its invariant: a proxy never asks for what the resources
// that it holds do not refer to, so that its requests are those of a real Envoy.
package fleet
