// Package rotate drives the rotation of a mesh's root CA: it carries out what package ca/rotation
// decides.
//
//   - Handler answers, on each controller, what that replica and its proxies have.
//   - Collector asks all controllers, looks at the certificate that each injector's webhook presents,
//     and reads the webhook configurations.
//   - Driver runs on the holder of the Lease: it reads the MeshRootCertificates, collects, plans,
//     and writes one role at a time, or says in their status whom it waits for.
//
// It decides nothing itself and loads no root; package provider does. Its invariant: a role is
// written only into the object as it was read before the evidence was collected.
package rotate
