// Package ca is the mesh's certificate authority at the edge of the control plane: the root that
// all replicas share, the leaf certificates that each signs for itself, and their renewal.
//
//   - Tresor loads the root from a Secret of the mesh, creating it once for all replicas (HA-3).
//   - Issuer signs leaves in memory; other providers stand beside it behind Authority.
//   - Roots puts several of them together during a rotation, which package rotation plans.
//   - Leaves keeps one current leaf per identity in use and renews it (HA-11).
//   - ServingCert is a server's own certificate.
//   - ProxySecrets writes the client certificates by which proxies reach the control plane.
//
// It decides nothing about who may talk to whom. Its invariant: a root or a Secret that somebody
// else made is never overwritten, every expiry is judged by the wall clock, and a private key
// leaves the package only by the methods named PEM, KeyPEM and TLS.
package ca
