// Package rotate is osm mesh rotate-root: it requests a rotation of a mesh's root certificate, shows
// its progress, and turns it back.
//
// It does not rotate: the controllers do, and which step comes next is decided by
// pkg/controlplane/rotation, whose types and rules it uses. Its invariant: it writes
// MeshRootCertificates only, and deletes the Secret of a root that is not in use; a rotation goes on
// when the command is stopped.
package rotate
