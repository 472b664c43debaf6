// Package suggest finds the word that a user probably meant.
//
// It compares spelling only. Its invariant: a word that is too far away is never suggested.
package suggest

import (
	"math"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Nearest returns the candidate that a word is the beginning of, or else the one that is most similar to it; "" if none
// is similar enough. The first of equally similar candidates wins.
func Nearest(word string, candidates []string) string {
	for _, candidate := range candidates {
		if len(word) >= shortest && strings.HasPrefix(strings.ToLower(candidate), strings.ToLower(word)) {
			return candidate
		}
	}
	best, distance := Closest(word, candidates)
	if distance > Limit(word) {
		return ""
	}
	return best
}

// shortest is how many letters a beginning must have to say anything.
const shortest = 2

// Limit is how many letters of a word may be wrong: a third, rounded up. Two letters that changed places count as two.
func Limit(word string) int { return (len(word) + 2) / 3 }

// Closest returns the candidate that is most similar to a word, and how many letters differ, whatever their case.
func Closest(word string, candidates []string) (best string, distance int) {
	distance = math.MaxInt
	for _, candidate := range candidates {
		if d := levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(candidate)); d < distance {
			best, distance = candidate, d
		}
	}
	return best, distance
}
