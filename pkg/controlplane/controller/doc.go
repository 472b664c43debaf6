// Package controller composes osm-controller: it makes the parts, connects them in the way of the
// data and lets them run and drain in order.
//
// It knows every package of the control plane and holds no logic of theirs. Its invariant: the
// xDS port opens, and readiness passes, only after everything was read once and the first whole
// configuration is built; and nothing that happens afterwards to the API server, the Lease or
// the CA takes the configuration away that proxies already have.
package controller
