package kube_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/kube"
)

// apiServer answers a request when the test says how.
type apiServer chan func() (*http.Response, error)

func (a apiServer) RoundTrip(*http.Request) (*http.Response, error) { return (<-a)() }

func answer(body io.Reader) func() (*http.Response, error) {
	return func() (*http.Response, error) { return &http.Response{Body: io.NopCloser(body)}, nil }
}

func noAnswer() (*http.Response, error) { return nil, errors.New("connection reset") }

// TestContact: the API server is silent when something has been due for longer than the limit, and only then.
func TestContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := make(apiServer)
		contact := kube.NewContact(time.Now)
		transport := contact.Wrap(server)
		ask := func() {
			go func() {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://api", nil)
				if err != nil {
					t.Error(err)
					return
				}
				if response, err := transport.RoundTrip(request); err == nil {
					_, _ = io.Copy(io.Discard, response.Body)
				}
			}()
			synctest.Wait()
		}
		after := func(d time.Duration, what string, silent time.Duration) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			since, ok := contact.Silent()
			if ok != (silent > 0) || ok && time.Since(since) != silent {
				t.Errorf("%s: silent %v for %v, want %v", what, ok, time.Since(since), silent)
			}
		}
		after(time.Hour, "nobody asks", 0)

		ask()
		after(kube.MaxSilence, "a request waits", 0)
		after(time.Second, "a request waits too long", kube.MaxSilence+time.Second)
		ask()
		after(time.Second, "another request does not change that", kube.MaxSilence+2*time.Second)
		server <- noAnswer
		after(time.Second, "a failed request is no answer", kube.MaxSilence+3*time.Second)
		server <- noAnswer
		after(time.Second, "and none is in flight", kube.MaxSilence+4*time.Second)
		ask()
		server <- answer(strings.NewReader(""))
		after(time.Hour, "it has answered", 0)

		events, write := io.Pipe()
		ask()
		server <- answer(events) // a watch
		after(time.Hour, "a watch without events", 0)
		ask()
		after(kube.MaxSilence, "a request waits beside it", 0)
		if _, err := write.Write([]byte("event")); err != nil {
			t.Fatal(err)
		}
		after(kube.MaxSilence, "an event is a word", 0)
		after(time.Second, "which the request still waits for", kube.MaxSilence+time.Second)
		server <- answer(strings.NewReader(""))
		if err := write.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
