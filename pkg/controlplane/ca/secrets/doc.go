// Package secrets is a small Kubernetes controller: on the leader it keeps certificates in Secrets that
// it may write but not read.
//
//   - ProxyController keeps the client certificates by which proxies reach the control plane, one
//     Secret for each ServiceAccount in the mesh.
//   - ServingController keeps the serving certificate of the injectors, which hold no root.
//   - ParseServed is how an injector reads its Secret.
//
// Both controllers probe a Secret by a server-side apply in dry-run mode, check what it holds, and
// apply it as a whole if it has to be replaced. They do not sign: a ca.Authority does. The invariant:
// a Secret that somebody else made is never changed or deleted.
package secrets
