// Package provider opens the mesh's certificate provider, the one that the flags name: Tresor, the
// built-in one, Vault or cert-manager. The controller and the injector open it alike.
//
//   - Flags are the command line of the choice; both processes have the same.
//   - Open waits until the provider's root is loaded and says meanwhile what it waits for.
//   - Provider is the opened one: its Roots sign, and its Run watches the root and keeps
//     serving certificates up to date.
//
// It signs nothing itself and knows no provider's protocol: package ca and the packages below it
// do. Its invariant: an outside provider that is away or a Secret that is broken ends no process.
package provider
