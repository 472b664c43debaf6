// Package rotation decides how a mesh gets from one root CA to another: which of its roots changes
// its role next, or whom that has to wait for.
//
//   - Plan takes the roots as the cluster holds them and the evidence of every replica, and returns
//     the phase, the next write or the list of those who are waited for.
//   - Signer and Trusted say what each replica does with the roots meanwhile.
//   - Abort turns a rotation round, from any phase until the old root is dropped.
//   - Report lists every proxy with its certificate.
//
// It is pure: it reads no cluster, no clock and no certificate, and remembers nothing between two
// calls, so that a rotation goes on where it was whoever looks at it next. Its invariant: following
// its writes, at no time is a certificate in use whose root some connected proxy does not trust.
package rotation
