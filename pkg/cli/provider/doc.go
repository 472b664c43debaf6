// Package provider is what the CLI knows about each kind of certificate provider: how chart values and
// flags describe one, and what must hold before a mesh signs with it. A kind is a file of its own.
//
// It neither signs nor talks to a provider; the control plane's package of the same name does. Its
// invariant: no other package of the CLI compares kinds of providers, other than to find the Secret of a
// built-in CA.
package provider
