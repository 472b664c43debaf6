// Package vault is the certificate provider Vault: a ca.Authority whose leaves are signed by the
// PKI engine of a server with Vault's API.
//
//   - Authority requests leaves, learns the CA from what the engine signs, and watches it.
//   - session holds the one token that all requests share, from a login with a ServiceAccount or from a
//     Secret. It renews the token at two thirds of its lifetime and logs in again if it is refused.
//   - gate limits the rate of requests while they fail.
//   - Error says which request failed, what the server responded and how to fix it.
//
// It neither configures the server nor caches leaves; package leafcache does the latter. Its invariant: a
// private key never leaves the process, a leaf that the loaded CA did not sign is never returned,
// and a failing server gets a bounded number of requests, however many callers there are.
package vault
