// Package ca holds what every certificate provider shares, and signs with a root in memory.
//
//   - authority.go: Authority issues leaves, Request describes one.
//   - key.go, csr.go, pem.go: private keys, signing requests, PEM files.
//   - leaf.go, issuer.go, provided.go: a leaf, the Issuer that signs with a Root, and the checks of a
//     leaf that an external provider signed.
//   - root.go, rootsecret.go, rootset.go, rootstatus.go: a Root, its Secret, several CAs during a
//     rotation, and whether the cluster still holds the loaded root.
//   - trust.go, anchors.go: trust bundles and the verification against them.
//   - servingcert.go, mutualtls.go: a server's own certificate, and TLS with it.
//
// Beside it: tresor, vault and certmanager are the providers; leafcache keeps the workloads' leaves
// current; secrets keeps certificates in Secrets.
//
// It does not decide which workloads may communicate, and calls no cluster. Its invariant: every expiry is checked
// against the wall clock, and a private key leaves the package only by the methods named PEM, KeyPEM and TLS.
package ca
