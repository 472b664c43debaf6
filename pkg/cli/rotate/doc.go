// Package rotate is osm mesh rotate-root: it requests a rotation of a mesh's root certificate, shows
// its progress, and aborts it.
//
// It does not rotate: the controllers do. The next step is decided by
// pkg/controlplane/rotation, whose types and rules it uses. Its invariant: it writes
// MeshRootCertificates only, and deletes the Secret of a root that is not in use; a rotation continues
// after the command ends.
package rotate
