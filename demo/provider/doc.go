// Package provider puts a certificate provider on a cluster that can reach no registry: OpenBao, which
// is a server of Vault's API, or cert-manager. It is for the demo and for end-to-end tests: one
// replica, and with OpenBao the key of the CA in a Secret, since such a cluster has no disk to keep it on.
//
// It knows objects and chart values, but not how the mesh uses its provider. Its invariant:
// repeating an operation changes nothing; in particular the CA, once created, stays.
package provider
