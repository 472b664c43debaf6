package bookstore

import (
	"maps"
	"sync"
	"time"
)

// maxNames limits how many different peers or stores are counted separately: without a proxy in front, a
// client may claim any number of names.
const maxNames = 32

// unknownPeer stands for requests whose sender no proxy identified.
const unknownPeer = "none"

// otherNames stands for the names beyond maxNames.
const otherNames = "others"

// Counts is the JSON response of /raw.
type Counts struct {
	Role     Role      `json:"role"`
	Identity string    `json:"identity"`
	Since    time.Time `json:"since"`
	// Books by the other side's identity: bought or stolen by store version; sold under the own
	// name; restocked by the warehouse under the store's name.
	Books map[string]int64 `json:"books"`
	// Refused requests got a response other than success; failed ones got none.
	Refused int64 `json:"refused"`
	Failed  int64 `json:"failed"`
	// LastFault is the latest reason for either, empty if there was none.
	LastFault string `json:"lastFault,omitempty"`
	// Peers counts the received requests by the sender's SPIFFE ID, which the own proxy took
	// from the sender's certificate; "none" counts those without one.
	Peers map[string]int64 `json:"peers,omitempty"`
}

// Total is the number of books under all names.
func (c Counts) Total() int64 {
	var total int64
	for _, n := range c.Books {
		total += n
	}
	return total
}

// ledger holds the counts of a process; it is safe for concurrent use.
type ledger struct {
	mu     sync.Mutex
	counts Counts
}

func newLedger(c Config) *ledger {
	return &ledger{counts: Counts{
		Role:     c.Role,
		Identity: c.Identity,
		Since:    c.Now().UTC(),
		Books:    map[string]int64{},
		Peers:    map[string]int64{},
	}}
}

// book counts books under a name and returns the new total.
func (l *ledger) book(name string, books int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	add(l.counts.Books, name, books)
	return l.counts.Total()
}

func (l *ledger) refused(fault error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Refused++
	l.counts.LastFault = fault.Error()
}

func (l *ledger) failed(fault error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Failed++
	l.counts.LastFault = fault.Error()
}

// peer counts a request received from the sender with this SPIFFE ID; empty means unknown.
func (l *ledger) peer(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id == "" {
		id = unknownPeer
	}
	add(l.counts.Peers, id, 1)
}

// add adds n to the count of name, or to that of otherNames when there are too many names.
func add(counts map[string]int64, name string, n int64) {
	if _, known := counts[name]; !known && len(counts) >= maxNames {
		name = otherNames
	}
	counts[name] += n
}

// snapshot returns a copy of the counts.
func (l *ledger) snapshot() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counts
	c.Books = maps.Clone(c.Books)
	c.Peers = maps.Clone(c.Peers)
	return c
}
