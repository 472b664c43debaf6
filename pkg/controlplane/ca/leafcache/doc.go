// Package leafcache keeps one current certificate for each identity that this replica serves, and
// renews it in time (HA-11).
//
// It does not sign: a ca.Authority does. It does not know who uses a certificate: every user holds a
// Handle. Its invariant: while Run runs and the authority answers, the certificate of a Handle is
// valid, and every Handle is notified of every new one.
package leafcache
