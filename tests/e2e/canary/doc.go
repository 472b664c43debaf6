// Package canary searches what a mesh shows for what it must not show: private keys, and tokens that
// let somebody log in. It looks through encodings: PEM with and without line breaks, hexadecimal,
// base64 (also in base64), gzip, and JSON's escapes.
//
// It knows no cluster; who uses it brings the texts. Its invariant: a finding names the place and what
// was found there, and never holds the secret itself.
package canary
