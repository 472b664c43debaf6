// Package rotation decides how a mesh gets from one root CA to another while it serves.
//
// # The phases
//
//	idle         no rotation was requested
//	trust-both   the new root becomes trusted everywhere; the old root signs
//	sign-new     the new root takes over signing
//	all-renewed  every certificate signed by the old root is replaced
//	drop-old     the old root is no longer trusted; from here there is no way back
//	done         the new root is the only one
//
// A phase is not stored: Plan derives it from the roles of the MeshRootCertificates (active, passive,
// inactive), and the next write changes one role. Abort turns a rotation around in every phase before
// the old root is dropped.
//
// # The evidence
//
// A role changes only after all participants are ready for it. Evidence is what the participants of the mesh's
// TLS currently have:
//
//   - Replica: the roots that a replica of the control plane has loaded, and the CA of its own certificate;
//   - Proxy: the trust bundle and the certificate that a connected proxy has acknowledged (package xds);
//   - Secret: what the leader wrote for proxies and injectors (package ca/secrets);
//   - Webhook: the bundle by which the API server verifies the injectors.
//
// # Who decides
//
// Every replica serves its evidence, and the leader collects that of all (rotation/collect). On the leader
// the driver (rotation/driver) reads the roots, collects, calls Plan, and writes one role or reports in the
// status what it is waiting for. Every replica loads the roots that the roles demand (package provider). The
// CLI requests a rotation by an annotation and shows State, which the leader serves as a debug page.
//
// This package is pure: it reads no cluster, no clock and no certificate, and keeps nothing between two
// calls, so that a rotation continues whichever replica leads. All of the above use its types. Its
// invariant: following its writes, no certificate is ever in use whose root some connected proxy does
// not trust.
package rotation
