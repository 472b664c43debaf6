package canary

import (
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strings"
)

// alignments is how many characters of base64 stand for whole bytes.
const alignments = 4

// decodings returns what the pieces of a text may encode.
func decodings(text []byte) [][]byte {
	// A piece continues across line breaks, JSON's escapes of them, and the indentation that follows.
	piece := regexp.MustCompile(`[A-Za-z0-9+/_-]{24,}(?:(?:\\+[nr]|[\r\n])+[ \t]*[A-Za-z0-9+/_-]+)*`)
	join := regexp.MustCompile(`(?:\\+[nr]|[\r\n])+[ \t]*`)
	standard := strings.NewReplacer("-", "+", "_", "/")
	var all [][]byte
	for _, found := range piece.FindAll(text, -1) {
		run := string(join.ReplaceAll(found, nil))
		if raw, err := hex.DecodeString(run); err == nil {
			all = append(all, raw)
		}
		run = standard.Replace(run)
		// The encoding may start anywhere in a run: a word may directly precede it.
		for offset := range alignments {
			part := run[offset:]
			if len(part)%alignments == 1 {
				part = part[:len(part)-1] // stands for less than a byte
			}
			if raw, err := base64.RawStdEncoding.DecodeString(part); err == nil {
				all = append(all, raw)
			}
		}
	}
	return all
}
