// Package vault is the certificate provider Vault: a ca.Authority whose leaves are signed by the
// PKI engine of a server that speaks Vault's API.
//
//   - Authority asks for leaves, learns the CA from what the engine signs, and watches it.
//   - session holds the one token that all requests share: by login with a ServiceAccount, or from
//     a Secret. It renews the token at two thirds of its life and logs in again when it is refused.
//   - gate spaces requests out while they fail.
//   - Error says which request failed, what the server answered and what to do.
//
// It neither configures the server nor caches leaves; package leafcache does the latter. Its invariant: a
// private key never leaves the process, a leaf that the loaded CA did not sign is never returned,
// and however many callers there are, a server that fails is asked a bounded number of times.
package vault
