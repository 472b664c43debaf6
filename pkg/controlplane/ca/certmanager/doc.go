// Package certmanager gets leaves from cert-manager: for each, it creates a CertificateRequest in the mesh's
// namespace, which an Issuer or ClusterIssuer of the cluster signs.
//
//   - Authority is the ca.Authority: Load learns the CA, Issue issues a leaf.
//   - Run removes requests that a crash left behind and reports when the issuer signs with another CA.
//
// It approves nothing, creates no Issuer and never sees a CA's key. It uses cert-manager's objects only and
// imports none of its code. Its invariant: every leaf that it returns chains to the CA that Load learnt, at
// most MaxInFlight requests of this process exist at a time, and none outlives the call that created it,
// short of a crash.
package certmanager
