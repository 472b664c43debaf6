// Package provider opens the mesh's certificate provider, the one that the flags name: Tresor, the
// built-in one, Vault or cert-manager. Only controllers open it.
//
//   - Flags are the command line of the choice, and Allowed bounds what MeshRootCertificates may
//     choose instead: to where credentials go, the installation says and no object.
//   - Open waits until the provider's root is loaded and says meanwhile what it waits for.
//   - Provider is the opened one: its Roots sign, and its Run watches the root and keeps
//     serving certificates up to date.
//
// It signs nothing itself and knows no provider's protocol: package ca and the packages below it
// do. Its invariant: an outside provider that is away or a Secret that is broken ends no process.
package provider
