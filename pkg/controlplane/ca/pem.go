package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
)

// PEM block types.
const (
	blockCertificate = "CERTIFICATE"
	blockPKCS8       = "PRIVATE KEY"
	blockPKCS1       = "RSA PRIVATE KEY"
	blockEC          = "EC PRIVATE KEY"
	blockECParams    = "EC PARAMETERS"
	blockEncrypted   = "ENCRYPTED PRIVATE KEY"
)

// firstType reports whether the type of the first PEM block is of the given kind.
func firstType(data []byte, kind func(string) bool) bool {
	block, _ := pem.Decode(data)
	return block != nil && kind(block.Type)
}

func isKeyBlock(blockType string) bool {
	return strings.HasSuffix(blockType, "PRIVATE KEY") || blockType == blockECParams
}

func isCertBlock(blockType string) bool { return blockType == blockCertificate }

// decode splits a value into its PEM blocks. Text around the blocks is allowed, as openssl writes
// it; a block that is damaged is not, because skipping it would make another one the signer.
func decode(key string, data []byte) ([]*pem.Block, error) {
	var blocks []*pem.Block
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		blocks = append(blocks, block)
	}
	begun := bytes.Count(data, []byte("-----BEGIN "))
	switch {
	case begun > 0 && len(blocks) != begun:
		return nil, keyError(key, "holds a PEM block that is cut off or damaged", "copy the whole file, from its BEGIN line to its END line")
	case len(blocks) > 0:
		return blocks, nil
	case data[0] == 0x30:
		return nil, keyError(key, "is in DER form", "convert it to PEM, for example with openssl")
	case isBase64PEM(data):
		return nil, keyError(key, "is base64-encoded twice", "use the PEM text itself under stringData, or encode it once under data")
	}
	return nil, keyError(key, "holds no PEM block", "put PEM text there, which starts with -----BEGIN")
}

func isBase64PEM(data []byte) bool {
	text := strings.Join(strings.Fields(string(data)), "")
	decoded, err := base64.StdEncoding.DecodeString(text)
	return err == nil && bytes.Contains(decoded, []byte("-----BEGIN "))
}

// parseChain reads the certificates of ca.crt.
func parseChain(data []byte) ([]*x509.Certificate, error) {
	blocks, err := decode(keyCert, data)
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	for i, block := range blocks {
		switch {
		case isKeyBlock(block.Type):
			return nil, keyError(keyCert, "holds a private key beside the certificate, and this key is given to every proxy",
				fmt.Sprintf("move the private key to key %q", keyPrivate))
		case block.Type != blockCertificate:
			return nil, keyError(keyCert, fmt.Sprintf("holds a PEM block of type %q", block.Type), "put a block of type CERTIFICATE there")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, keyError(keyCert, fmt.Sprintf("holds a certificate (number %d) that cannot be read (%v)", i+1, err), "export it again from your CA")
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

// parsePrivateKey reads the one key of private.key.
func parsePrivateKey(data []byte) (crypto.Signer, error) {
	blocks, err := decode(keyPrivate, data)
	if err != nil {
		return nil, err
	}
	// openssl writes the curve's parameters before an EC key; the key names its curve itself.
	blocks = slices.DeleteFunc(blocks, func(b *pem.Block) bool { return b.Type == blockECParams })
	if len(blocks) != 1 {
		return nil, keyError(keyPrivate, fmt.Sprintf("holds %d PEM blocks", len(blocks)), fmt.Sprintf("leave only the private key of the first certificate in key %q", keyCert))
	}
	block := blocks[0]
	if block.Type == blockEncrypted || block.Headers["DEK-Info"] != "" {
		return nil, keyError(keyPrivate, "holds a private key that is locked by a passphrase", "store it without one, for example with openssl pkey")
	}
	signer, err := parseKeyBlock(block)
	if err != nil {
		return nil, err
	}
	if err := checkKind(keyPrivate, signer.Public()); err != nil {
		return nil, err
	}
	return signer, nil
}

// parseKeyBlock reads a key by its block's type. PKCS #8 is tried for all three types because
// tools exist that write it under the older headings.
func parseKeyBlock(block *pem.Block) (crypto.Signer, error) {
	var first error
	switch block.Type {
	case blockPKCS1:
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err == nil {
			return key, nil
		}
		first = err
	case blockEC:
		key, err := x509.ParseECPrivateKey(block.Bytes)
		if err == nil {
			return key, nil
		}
		first = err
	case blockPKCS8:
	default:
		return nil, keyError(keyPrivate, fmt.Sprintf("holds a PEM block of type %q", block.Type),
			"put a block of type PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY there")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if first == nil {
			first = err
		}
		return nil, keyError(keyPrivate, fmt.Sprintf("holds a private key that cannot be read (%v)", first), "export it again from your CA")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, keyError(keyPrivate, "holds a key that cannot sign", "use an ECDSA or RSA key")
	}
	return signer, nil
}

// checkKind rejects keys that Envoy cannot verify or that are too weak.
func checkKind(key string, public crypto.PublicKey) error {
	switch p := public.(type) {
	case *rsa.PublicKey:
		if bits := p.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return keyError(key, fmt.Sprintf("holds an RSA key of %d bits", bits), fmt.Sprintf("use one of %d to %d bits, or ECDSA", minRSABits, maxRSABits))
		}
	case *ecdsa.PublicKey:
		if p.Curve != elliptic.P256() && p.Curve != elliptic.P384() && p.Curve != elliptic.P521() {
			return keyError(key, fmt.Sprintf("holds an ECDSA key on curve %s", p.Curve.Params().Name), "use curve P-256, P-384 or P-521")
		}
	default:
		return keyError(key, fmt.Sprintf("holds a key of kind %T, which Envoy cannot verify", public), "use an ECDSA or RSA key")
	}
	return nil
}
