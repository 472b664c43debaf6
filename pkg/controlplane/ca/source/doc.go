// Package source is the contract between package provider and the packages of the providers that it
// opens.
//
//   - Kind is what a provider's package registers: its flags, what it accepts and how it is opened.
//   - Source is an opened provider: Load waits for its root, Run watches it.
//   - Remote makes a Source of a provider in another process.
//
// It knows no provider, and holds no list of kinds: package provider does. Its invariant: the
// spec says who signs, and everything else, above all where credentials are, comes from the flags.
package source
