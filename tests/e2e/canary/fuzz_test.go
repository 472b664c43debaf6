package canary_test

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/osm-edge/osm/tests/e2e/canary"
	"github.com/osm-edge/osm/tests/reach"
)

// FuzzSearch: a known secret is found at any position, in any context, and however often it is
// encoded, and a place without it has no finding.
func FuzzSearch(f *testing.F) {
	f.Add([]byte("before "), []byte(" after"), uint8(0))
	f.Add([]byte("key: "), []byte("\n"), uint8(1))
	f.Add([]byte("\x1f\x8b"), []byte("\xff"), uint8(2))
	f.Add([]byte("a"), []byte("="), uint8(3))
	f.Add([]byte(`{"x":"`), []byte(`"}`), uint8(9))
	f.Add([]byte("cut"), []byte(" off"), uint8(4))
	secret := []byte("the secret of \x00 fuzzing \xfe")
	outcomes := reach.All(f, "found", "not found")
	f.Fuzz(func(t *testing.T, before, after []byte, how uint8) {
		s := canary.New()
		if err := s.Add("it", secret); err != nil {
			t.Fatal(err)
		}
		held := secret
		switch how % 6 {
		case 1:
			held = []byte(" " + base64.StdEncoding.EncodeToString(secret) + " ")
		case 2:
			held = []byte(" " + base64.RawURLEncoding.EncodeToString(secret) + " ")
		case 3:
			held = []byte(" " + hex.EncodeToString(secret) + " ")
		case 4:
			held = secret[:len(secret)-1]
		case 5:
			inner := " " + base64.StdEncoding.EncodeToString(secret) + " "
			held = []byte(" " + base64.StdEncoding.EncodeToString([]byte(inner)) + " ")
		}
		found := s.Search(canary.Place{Name: "log", Text: slices.Concat(before, held, after)})
		shown := slices.Contains(found, canary.Finding{Place: "log", Secret: "it"})
		outcomes.Note(map[bool]string{true: "found", false: "not found"}[shown])
		switch cut := how%6 == 4; {
		case !cut && !shown:
			t.Errorf("not found in %q %q %q", before, held, after)
		case cut && shown && len(before)+len(after) == 0:
			t.Error("found a truncated secret")
		}
	})
}
