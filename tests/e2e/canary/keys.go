package canary

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// AddPEM adds every private key in a PEM file, by its secret number and not by how the file
// writes it. It returns how many there were.
func (s *Searcher) AddPEM(name string, text []byte) (int, error) {
	count := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		secret, err := secretNumber(block.Bytes)
		if err == nil {
			err = s.Add(name, secret)
		}
		if err != nil {
			return count, fmt.Errorf("read private key %s: %w", name, err)
		}
		count++
	}
	return count, nil
}

func secretNumber(der []byte) ([]byte, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		if key, sec1 := x509.ParseECPrivateKey(der); sec1 == nil {
			parsed, err = key, nil
		} else if key, pkcs1 := x509.ParsePKCS1PrivateKey(der); pkcs1 == nil {
			parsed, err = key, nil
		}
	}
	if err != nil {
		return nil, err
	}
	switch key := parsed.(type) {
	case *ecdsa.PrivateKey:
		return key.Bytes()
	case *rsa.PrivateKey:
		return key.Primes[0].Bytes(), nil
	case ed25519.PrivateKey:
		return key.Seed(), nil
	}
	return nil, errors.New("unknown kind of key")
}
