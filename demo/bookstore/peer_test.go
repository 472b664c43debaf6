package bookstore_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/osm-edge/osm/demo/bookstore"
	"github.com/osm-edge/osm/tests/reach"
)

const buyerID = "spiffe://cluster.local/ns/bookbuyer/sa/bookbuyer"

func TestPeer(t *testing.T) {
	tests := map[string]struct {
		header []string
		want   string
	}{
		"no header":            {nil, ""},
		"empty header":         {[]string{""}, ""},
		"one element":          {[]string{"By=spiffe://td/x;Hash=abc;URI=" + buyerID}, buyerID},
		"lower-case key":       {[]string{"hash=abc;uri=" + buyerID}, buyerID},
		"quoted value":         {[]string{`Hash=abc;URI="` + buyerID + `"`}, buyerID},
		"the nearest proxy's":  {[]string{"URI=spiffe://td/forged,Hash=abc;URI=" + buyerID}, buyerID},
		"in a second header":   {[]string{"URI=spiffe://td/forged", "URI=" + buyerID}, buyerID},
		"separators in quotes": {[]string{`Subject="CN=a;URI=spiffe://td/forged,O=b";URI=` + buyerID}, buyerID},
		"escaped quote":        {[]string{`Subject="a\";URI=spiffe://td/forged";URI=` + buyerID}, buyerID},
		"element without URI":  {[]string{"Hash=abc;DNS=a.b"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			for _, v := range tt.header {
				header.Add("x-forwarded-client-cert", v)
			}
			if got := bookstore.Peer(header); got != tt.want {
				t.Errorf("Peer = %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzPeer(f *testing.F) {
	f.Add(`By=a;Hash=b;Subject="CN=x,O=\"y\"";URI=` + buyerID + `;DNS=a.b`)
	f.Add(`;;,,=""\`)
	outcomes := reach.All(f, "named", "nobody")
	f.Fuzz(func(t *testing.T, value string) {
		got := bookstore.Peer(http.Header{"X-Forwarded-Client-Cert": {value}})
		outcomes.Note(map[bool]string{true: "named", false: "nobody"}[got != ""])
		if !strings.Contains(value, got) {
			t.Errorf("Peer of %q = %q, which the header does not spell", value, got)
		}
	})
}
