package ca

import "crypto"

// KeyOf wraps a key of the tests, which must be the same in every process of a fuzz target.
func KeyOf(signer crypto.Signer) (Key, error) { return newKey(signer) }
