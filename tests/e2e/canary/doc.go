// Package canary searches a mesh's visible output for secrets: private keys, and tokens that
// allow a login. It looks through encodings: PEM with and without line breaks, hexadecimal,
// base64 (also in base64), gzip, and JSON's escapes.
//
// It knows no cluster; the caller supplies the texts. Its invariant: a finding names the place and what
// was found there, and never holds the secret itself.
package canary
