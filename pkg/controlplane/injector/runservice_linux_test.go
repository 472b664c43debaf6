package injector_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// service stands for the Service osm-injector: it leads each connection to one of the ready replicas, in turn.
type service struct {
	listener net.Listener
	work     sync.WaitGroup

	mu       sync.Mutex
	replicas []*replica
	accepted int
	open     map[net.Conn]bool
}

func newService(t *testing.T) *service {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{listener: listener, open: map[net.Conn]bool{}}
	s.work.Go(s.run)
	t.Cleanup(func() {
		_ = listener.Close()
		s.mu.Lock()
		for conn := range s.open {
			_ = conn.Close()
		}
		s.mu.Unlock()
		s.work.Wait()
	})
	return s
}

func (s *service) port() int32 { return int32(s.listener.Addr().(*net.TCPAddr).Port) }

func (s *service) add(r *replica) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replicas = append(s.replicas, r)
}

func (s *service) run() {
	for {
		client, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.work.Go(func() { s.forward(client) })
	}
}

// choose returns the address of a ready replica, "" if there is none.
func (s *service) choose() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted++
	for i := range s.replicas {
		r := s.replicas[(s.accepted+i)%len(s.replicas)]
		if ok, _ := r.Health.Ready(); ok {
			return r.address
		}
	}
	return ""
}

func (s *service) forward(client net.Conn) {
	defer s.track(client)()
	server, err := net.Dial("tcp", s.choose())
	if err != nil {
		return
	}
	defer s.track(server)()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	_, _ = io.Copy(server, client)
	_ = server.Close()
	back.Wait()
}

// track closes a connection at the end of the test, or when it is told to.
func (s *service) track(conn net.Conn) (closeNow func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[conn] = true
	return func() {
		_ = conn.Close()
		s.mu.Lock()
		delete(s.open, conn)
		s.mu.Unlock()
	}
}
