// Package fleet is many fake Envoys in one process: each has its own TLS connection to a control
// plane, asks as an Envoy asks, acknowledges all that it is sent and comes back when it is cut off.
//
// It is as cheap as can be, because it shares the machine with what it measures: responses are
// looked through, not decoded, and what a resource refers to is learnt once for all proxies. It
// carries no traffic and rejects nothing. The protocol of one proxy is a plain state machine
// (delta, sotw) that knows no connection. Its invariant: a proxy never asks for what the resources
// that it holds do not refer to, so that its requests are those of a real Envoy.
package fleet
