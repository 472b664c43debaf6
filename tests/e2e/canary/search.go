package canary

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Place is a text that may be read by somebody who must not learn a secret.
type Place struct {
	Name string
	Text []byte
}

// Finding is a secret in a place.
type Finding struct{ Place, Secret string }

func (f Finding) String() string { return fmt.Sprintf("%s shows %s", f.Place, f.Secret) }

// minSecret is the length below which a match may be a coincidence.
const minSecret = 12

// maxDepth is how many encodings may lie around a secret, such as a PEM file in a Secret's base64 in a
// manifest in Helm's gzip in its base64 in the Secret's.
const maxDepth = 5

// Searcher searches for secrets.
type Searcher struct {
	names  []string
	values [][]byte
	rules  []rule
}

// rule finds unknown secrets.
type rule struct {
	name    string
	pattern *regexp.Regexp
	// plausible distinguishes a secret from a word that looks like one; nil accepts all.
	plausible func([]byte) bool
}

// New returns a Searcher for any private key and any token.
func New() *Searcher {
	return &Searcher{rules: []rule{
		{name: "a private key in PEM", pattern: regexp.MustCompile(`PRIVATE KEY-----`)},
		// Common to SEC 1 and PKCS #8: version 1, then the number: 32 octets, or 48.
		{name: "an ECDSA private key", pattern: regexp.MustCompile(`(?s)\x02\x01\x01\x04[\x20\x30].{16}`)},
		{name: "a token of Vault", pattern: regexp.MustCompile(`\b(?:hv[sbr]|[sbr])\.[A-Za-z0-9_-]{24,}`), plausible: random},
		{name: "a JSON web token", pattern: regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}`)},
	}}
}

// random accepts strings with digits and letters of both cases, unlike method names.
func random(token []byte) bool {
	return bytes.ContainsFunc(token, unicode.IsDigit) && bytes.ContainsFunc(token, unicode.IsUpper) && bytes.ContainsFunc(token, unicode.IsLower)
}

// Add adds a known secret. It refuses one so short that matches would be coincidences.
func (s *Searcher) Add(name string, secret []byte) error {
	if len(secret) < minSecret {
		return fmt.Errorf("secret %s has %d bytes: matches would be coincidences", name, len(secret))
	}
	lower := hex.EncodeToString(secret)
	for _, form := range [][]byte{secret, []byte(lower), []byte(strings.ToUpper(lower))} {
		s.names, s.values = append(s.names, name), append(s.values, form)
	}
	return nil
}

// Known counts the secrets that were added.
func (s *Searcher) Known() int { return len(slices.Compact(slices.Sorted(slices.Values(s.names)))) }

// Search returns the findings, each secret once per place.
func (s *Searcher) Search(places ...Place) []Finding {
	var findings []Finding
	for _, place := range places {
		found := map[string]bool{}
		s.look(place.Text, maxDepth, found)
		for _, name := range slices.Sorted(maps.Keys(found)) {
			findings = append(findings, Finding{place.Name, name})
		}
	}
	return findings
}

// look records the findings in a text and in everything encoded in it.
func (s *Searcher) look(text []byte, depth int, found map[string]bool) {
	for i, value := range s.values {
		if bytes.Contains(text, value) {
			found[s.names[i]] = true
		}
	}
	for _, r := range s.rules {
		for _, match := range r.pattern.FindAll(text, -1) {
			if r.plausible == nil || r.plausible(match) {
				found[r.name] = true
			}
		}
	}
	if depth == 0 {
		return
	}
	if plain, err := gunzip(text); err == nil {
		s.look(plain, depth-1, found)
	}
	for _, decoded := range decodings(text) {
		s.look(decoded, depth-1, found)
	}
}

func gunzip(text []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
