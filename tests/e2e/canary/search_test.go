package canary_test

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/osm-edge/osm/tests/e2e/canary"
)

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func encodedPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func inJSON(t *testing.T, text string) string {
	t.Helper()
	raw, err := json.Marshal(map[string]string{"message": text})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func zipped(text string) string {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = w.Write([]byte(text)) // a bytes.Buffer takes everything
	_ = w.Close()
	return buf.String()
}

// forms returns the forms in which a key may be exposed, including the body of the PEM without its frame.
func forms(t *testing.T, der []byte) map[string]string {
	t.Helper()
	text := string(encodedPEM(der))
	body := base64.StdEncoding.EncodeToString(der)
	url := base64.RawURLEncoding.EncodeToString(der)
	lines := strings.Split(text, "\n")
	return map[string]string{
		"DER":                     string(der),
		"PEM":                     text,
		"PEM in JSON":             inJSON(t, text),
		"PEM in JSON in JSON":     inJSON(t, inJSON(t, text)),
		"PEM in base64":           base64.StdEncoding.EncodeToString([]byte(text)),
		"PEM in base64 twice":     base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(text)))),
		"base64":                  "key=" + body,
		"base64 behind a word":    "xkey" + body,
		"base64 behind two":       "xxkey" + body,
		"base64 for URLs":         url,
		"indented lines":          "key: |\n    " + strings.Join(lines[1:len(lines)-2], "\n    ") + "\nnext: 1",
		"hexadecimal":             hex.EncodeToString(der),
		"hexadecimal, upper case": strings.ToUpper(hex.EncodeToString(der)),
		"Helm's release":          base64.StdEncoding.EncodeToString([]byte(zipped(inJSON(t, text)))),
		"gzip":                    zipped(text),
	}
}

func TestFindsAKnownKey(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for kind, key := range map[string]any{"ECDSA": ecKey(t), "RSA": rsaKey} {
		s := canary.New()
		if n, err := s.AddPEM("the CA's key", encodedPEM(pkcs8(t, key))); n != 1 || err != nil {
			t.Fatalf("%s: added %d, %v", kind, n, err)
		}
		for form, text := range forms(t, pkcs8(t, key)) {
			found := s.Search(canary.Place{Name: "log", Text: []byte("before " + text + " after")})
			if form == "gzip" {
				found = s.Search(canary.Place{Name: "log", Text: []byte(text)})
			}
			if !slices.Contains(found, canary.Finding{Place: "log", Secret: "the CA's key"}) {
				t.Errorf("%s key as %s: found %v", kind, form, found)
			}
		}
	}
}

// TestFindsAnyKey: leaves' keys exist only in memory, so the search cannot know them.
func TestFindsAnyKey(t *testing.T) {
	for form, text := range forms(t, pkcs8(t, ecKey(t))) {
		if found := canary.New().Search(canary.Place{Name: "log", Text: []byte(text)}); len(found) == 0 {
			t.Errorf("%s: not found", form)
		}
	}
	sec1, err := x509.MarshalECPrivateKey(ecKey(t))
	if err != nil {
		t.Fatal(err)
	}
	if found := canary.New().Search(canary.Place{Name: "log", Text: []byte(base64.StdEncoding.EncodeToString(sec1))}); len(found) == 0 {
		t.Error("SEC 1: not found")
	}
}

func TestFindsTokens(t *testing.T) {
	s := canary.New()
	if err := s.Add("the operator's token", []byte("operator-0123456789")); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"token":"s.vX3mK9qLr8Tz2Wc5Yb7Nd1Ge"}`:                                                "a token of Vault",
		"X-Vault-Token: hvs.CAESIJ4vX3mK9qLr8Tz2Wc5Yb7Nd1Ge":                                    "a token of Vault",
		"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQifQ.c2lnbmF0dXJlLXNpZw":    "a JSON web token",
		"login as operator-0123456789 failed":                                                   "the operator's token",
		"data: " + base64.StdEncoding.EncodeToString([]byte("some token=operator-0123456789.")): "the operator's token",
	} {
		found := s.Search(canary.Place{Name: "log", Text: []byte(text)})
		if len(found) != 1 || found[0].Secret != want {
			t.Errorf("in %q found %v, want %s", text, found, want)
		}
	}
}

func TestLeavesTheRestAlone(t *testing.T) {
	key := ecKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s := canary.New()
	if _, err := s.AddPEM("the CA's key", encodedPEM(pkcs8(t, key))); err != nil {
		t.Fatal(err)
	}
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	for _, text := range []string{
		certificate, inJSON(t, certificate), base64.StdEncoding.EncodeToString([]byte(certificate)),
		"pods.metrics.k8s.io", "s.followTheMeshRootCertificates()", "root 7ea5ab2b354eaa7563481f84cdd075ec9792590c4440e45f60e421ab1b165ac7",
		"sha256:a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
	} {
		if found := s.Search(canary.Place{Name: "log", Text: []byte(text)}); len(found) > 0 {
			t.Errorf("in %q found %v, want nothing", text, found)
		}
	}
}

func TestRefusesShortSecrets(t *testing.T) {
	if err := canary.New().Add("pin", []byte("1234")); err == nil {
		t.Error("a secret of four bytes was added")
	}
	if n, err := canary.New().AddPEM("broken", encodedPEM([]byte("broken"))); n != 0 || err == nil {
		t.Errorf("a broken key: %d, %v", n, err)
	}
}

func TestFindingHoldsNoSecret(t *testing.T) {
	s := canary.New()
	if err := s.Add("a password", []byte("correct horse battery")); err != nil {
		t.Fatal(err)
	}
	found := s.Search(canary.Place{Name: "log", Text: []byte("correct horse battery")})
	if len(found) != 1 || found[0].String() != "log shows a password" {
		t.Errorf("found %v", found)
	}
}
