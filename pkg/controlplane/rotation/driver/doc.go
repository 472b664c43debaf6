// Package driver rotates the root of a mesh on the leader: it carries out what package rotation plans.
//
// It reads the MeshRootCertificates, collects the evidence, plans, and writes one role at a time, or
// reports in their status what the rotation waits for. It decides nothing itself, and loads no root:
// package provider does. Its invariant: a role is written only into the object as it was read before
// the evidence was collected.
package driver
