package ca

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/osm-edge/osm/pkg/api"
)

// Keys of the root's Secret.
const (
	keyCert    = api.CAKeyCert
	keyPrivate = api.CAKeyPrivate
)

// RootError says what is wrong with a root's Secret and how to repair it, in one sentence.
type RootError struct {
	// Key is the key of the Secret that is at fault: "ca.crt" or "private.key".
	Key string
	// Problem is what is wrong, to be read after the key.
	Problem string
	// Fix is what to do.
	Fix string
}

// Error returns the sentence.
func (e *RootError) Error() string {
	return fmt.Sprintf("key %q %s: %s", e.Key, e.Problem, e.Fix)
}

func keyError(key, problem, fix string) *RootError { return &RootError{key, problem, fix} }

// ParseRoot reads and checks the data of a root's Secret: the one validator for roots that osm
// made and for those that users bring. "ca.crt" holds the signing certificate as PEM, followed by
// its parents if it is an intermediate; "private.key" holds its key as PKCS #1, PKCS #8 or SEC 1.
// Errors are of type *RootError.
func ParseRoot(data map[string][]byte, now time.Time) (*Root, error) {
	if err := checkPresence(data); err != nil {
		return nil, err
	}
	chain, err := parseChain(data[keyCert])
	if err != nil {
		return nil, err
	}
	signer, err := parsePrivateKey(data[keyPrivate])
	if err != nil {
		return nil, err
	}
	if err := checkSigner(chain[0], now.Round(0)); err != nil {
		return nil, err
	}
	if err := checkParents(chain, now.Round(0)); err != nil {
		return nil, err
	}
	if err := checkMatch(chain[0], signer); err != nil {
		return nil, err
	}
	key, err := newKey(signer)
	if err != nil {
		return nil, keyError(keyPrivate, "cannot be marshalled", err.Error())
	}
	return newRoot(chain, key), nil
}

// checkPresence detects keys that are missing, empty or swapped, before anything is parsed.
func checkPresence(data map[string][]byte) error {
	cert, hasCert := data[keyCert]
	private, hasKey := data[keyPrivate]
	switch {
	case !hasCert && !hasKey:
		return keyError(keyCert, fmt.Sprintf("and key %q are missing from the Secret", keyPrivate),
			"add the CA certificate and its private key as PEM, or delete the Secret: a mesh that has no root yet makes one")
	case !hasCert:
		return keyError(keyCert, "is missing from the Secret", "add the CA certificate as PEM")
	case !hasKey:
		return keyError(keyPrivate, "is missing from the Secret", "add the CA's private key as PEM")
	case len(bytes.TrimSpace(cert)) == 0:
		return keyError(keyCert, "is empty", "put the CA certificate there as PEM")
	case len(bytes.TrimSpace(private)) == 0:
		return keyError(keyPrivate, "is empty", "put the CA's private key there as PEM")
	case firstType(cert, isKeyBlock) && firstType(private, isCertBlock):
		return keyError(keyCert, fmt.Sprintf("holds a private key and key %q a certificate", keyPrivate), "swap the two values")
	}
	return nil
}

// checkSigner returns an error if a certificate cannot sign the leaves of a mesh.
func checkSigner(cert *x509.Certificate, now time.Time) error {
	switch {
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return keyError(keyCert, "holds a certificate that is not a CA", "use one with basicConstraints CA:TRUE as the first certificate")
	case cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return keyError(keyCert, "holds a CA whose key usage does not include certificate signing", "issue it with keyUsage keyCertSign")
	case !signsBothUsages(cert):
		return keyError(keyCert, "holds a CA whose extended key usage excludes TLS servers or clients", "issue it without extendedKeyUsage, or with serverAuth and clientAuth")
	case now.Before(cert.NotBefore):
		return keyError(keyCert, fmt.Sprintf("holds a CA that is not valid before %s", stamp(cert.NotBefore)), "wait until then, or check the clocks of the CA and of this node")
	case now.After(cert.NotAfter):
		return keyError(keyCert, fmt.Sprintf("holds a CA that expired at %s", stamp(cert.NotAfter)), "replace the certificate and its key by a valid CA")
	}
	return checkKind(keyCert, cert.PublicKey)
}

// signsBothUsages reports whether leaves below the CA may be TLS servers and clients: verifiers
// apply a CA's extended key usage, if it has one, to what it signs.
func signsBothUsages(cert *x509.Certificate) bool {
	usages := cert.ExtKeyUsage
	if len(usages) == 0 && len(cert.UnknownExtKeyUsage) == 0 || slices.Contains(usages, x509.ExtKeyUsageAny) {
		return true
	}
	return slices.Contains(usages, x509.ExtKeyUsageServerAuth) && slices.Contains(usages, x509.ExtKeyUsageClientAuth)
}

// checkParents makes sure that each certificate after the first signed the one before it.
func checkParents(chain []*x509.Certificate, now time.Time) error {
	for i := range chain[1:] {
		child, parent := chain[i], chain[i+1]
		if err := child.CheckSignatureFrom(parent); err != nil {
			return keyError(keyCert, fmt.Sprintf("holds a certificate (number %d) that did not sign the one before it", i+2),
				"put the signing CA first, then its issuer, and so on, and nothing else")
		}
		if now.After(parent.NotAfter) {
			return keyError(keyCert, fmt.Sprintf("holds an issuer (number %d) that expired at %s", i+2, stamp(parent.NotAfter)), "replace the expired part of the chain")
		}
	}
	return nil
}

// checkMatch returns an error unless the key belongs to the first certificate.
func checkMatch(cert *x509.Certificate, signer crypto.Signer) error {
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(cert.PublicKey) {
		return keyError(keyPrivate, fmt.Sprintf("does not belong to the first certificate in key %q", keyCert), "store the key that was made together with that certificate, and put that certificate first")
	}
	return nil
}
