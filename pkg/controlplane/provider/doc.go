// Package provider opens the mesh's certificate providers. Only controllers open them.
//
//   - Flags name the provider that signs by default and bound what MeshRootCertificates may name
//     instead: only the installation says who receives credentials. Flags also register the kinds of
//     providers, each with a package of its own.
//   - A v1alpha2.ProviderSpec, from the flags or from an object, says who signs.
//   - Open waits until the roots are loaded and reports what it waits for.
//   - Provider is what Open returns: its Roots sign, and its Run watches the root and keeps
//     serving certificates up to date.
//
// It signs nothing itself and knows no provider's protocol: package ca and the packages below it
// do. Its invariant: an external provider that is unavailable or a broken Secret ends no process.
package provider
