// Package certmanager gets leaves from cert-manager: each is asked for with a CertificateRequest in
// the mesh's namespace, which an Issuer or ClusterIssuer of the cluster answers.
//
//   - Authority is the ca.Authority: Load learns the CA, Issue asks for a leaf.
//   - Run removes what a crash left behind and reports when the issuer signs with another CA.
//
// It approves nothing, makes no Issuer and never sees a CA's key; it knows cert-manager by its
// objects alone and imports none of its code. Its invariant: what it returns leads to the CA that
// Load learnt, at most MaxInFlight requests exist at a time for this process, and none outlives
// the call that made it, short of a crash.
package certmanager
