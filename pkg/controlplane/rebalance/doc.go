// Package rebalance decides how many proxies a controller sends to its peers after the number of replicas has
// grown, and does so at a bounded rate.
//
//   - Decide is pure: the counts of all replicas -> this replica's surplus.
//   - Runner is its edge: it asks for the counts and moves one proxy after another, all the time or once, on order.
//
// It moves no proxy itself and chooses none: package xds does, and keeps the rule that a proxy is turned away at
// most twice. Replicas do not coordinate. Its invariant: what is not known moves nobody. Without a ready peer, or
// with a peer whose count is unknown, nothing is moved.
package rebalance
