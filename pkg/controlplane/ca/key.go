package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
)

// redacted is printed instead of a key.
const redacted = "[redacted]"

// Limits of RSA keys, in bits. Above the maximum, signatures are too slow for a mesh.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// Key is a private key that cannot be printed, logged or marshalled by accident.
type Key struct {
	// A pointer, so that even a printer that ignores the methods below shows an address.
	material *material
}

type material struct {
	signer crypto.Signer
	pem    []byte
}

// newKey wraps a signer and remembers its PKCS #8 form.
func newKey(signer crypto.Signer) (Key, error) {
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return Key{}, fmt.Errorf("marshal private key: %w", err)
	}
	encoded := pem.EncodeToMemory(&pem.Block{Type: blockPKCS8, Bytes: der})
	return Key{&material{signer, encoded}}, nil
}

// generateKey makes an RSA key of the given size, or an ECDSA P-256 key for 0 bits.
func generateKey(rsaBits int) (Key, error) {
	if rsaBits == 0 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return Key{}, fmt.Errorf("generate ECDSA key: %w", err)
		}
		return newKey(key)
	}
	if rsaBits < minRSABits || rsaBits > maxRSABits {
		return Key{}, fmt.Errorf("generate RSA key: %d bits: want %d to %d, or 0 for ECDSA P-256", rsaBits, minRSABits, maxRSABits)
	}
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return Key{}, fmt.Errorf("generate RSA key: %w", err)
	}
	return newKey(key)
}

// PEM returns the key as a PKCS #8 PEM block. The caller must not change it.
func (k Key) PEM() []byte {
	if k.material == nil {
		return nil
	}
	return k.material.pem
}

// signer returns the key for use with crypto/x509 and crypto/tls.
func (k Key) signer() crypto.Signer { return k.material.signer }

// String returns "[redacted]".
func (Key) String() string { return redacted }

// GoString returns "[redacted]".
func (Key) GoString() string { return redacted }

// Format prints "[redacted]" for every verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns "[redacted]".
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[redacted]" as a JSON string.
func (Key) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue returns "[redacted]" for slog.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }
