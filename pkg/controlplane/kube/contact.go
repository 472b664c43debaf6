package kube

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// MaxSilence is how long the API server may leave a request unanswered before it counts as silent. The
// leader election asks every two seconds, so a healthy one is heard from more often.
const MaxSilence = 10 * time.Second

// Contact knows when the API server was last heard from. A request that fails says so itself. One whose
// packets are dropped does not end for minutes, and neither does a watch: only the time since the last word
// tells.
type Contact struct {
	now func() time.Time

	mu       sync.Mutex
	inFlight int       // requests without a response so far
	since    time.Time // when a word was first due that has not come; zero if none is
}

// NewContact returns a Contact without requests. now is the clock.
func NewContact(now func() time.Time) *Contact { return &Contact{now: now} }

// Wrap makes a transport report to the Contact. It is for rest.Config.Wrap.
func (c *Contact) Wrap(next http.RoundTripper) http.RoundTripper { return contactTransport{c, next} }

// Silent returns since when a word of the API server has been due, zero if none is; ok is false if that is not longer
// than MaxSilence.
func (c *Contact) Silent() (since time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since, !c.since.IsZero() && c.now().Sub(c.since) > MaxSilence
}

func (c *Contact) ask() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight++
	if c.since.IsZero() {
		c.since = c.now()
	}
}

// end ends a request. Without an answer the API server still owes one, whatever ended it.
func (c *Contact) end(answered bool) {
	c.mu.Lock()
	c.inFlight--
	c.mu.Unlock()
	if answered {
		c.heard()
	}
}

// heard notes a word of the API server. From now on it owes one to the requests that are still open.
func (c *Contact) heard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since = (time.Time{}); c.inFlight > 0 {
		c.since = c.now()
	}
}

type contactTransport struct {
	contact *Contact
	next    http.RoundTripper
}

func (t contactTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	t.contact.ask()
	response, err := t.next.RoundTrip(request)
	t.contact.end(err == nil)
	if err != nil {
		return nil, err
	}
	response.Body = contactBody{t.contact, response.Body}
	return response, nil
}

// contactBody hears the events of a watch.
type contactBody struct {
	contact *Contact
	io.ReadCloser
}

func (b contactBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.contact.heard()
	}
	return n, err
}
