package ca_test

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/ca"
	"github.com/osm-edge/osm/tests/catest"
)

// handshake lets two leaves authenticate each other at the time of the tests.
func handshake(t *testing.T, server, client *ca.Leaf, root *ca.Root) error {
	t.Helper()
	pool := root.Trust().Pool()
	return connect(&tls.Config{
		Certificates: []tls.Certificate{server.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, Time: catest.At(catest.Today()), MinVersion: tls.VersionTLS13,
	}, &tls.Config{
		Certificates: []tls.Certificate{client.TLS()}, RootCAs: pool, ServerName: server.TLS().Leaf.DNSNames[0], Time: catest.At(catest.Today()), MinVersion: tls.VersionTLS13,
	})
}

// connect makes one TLS connection over a pipe and returns the errors of both sides.
func connect(server, client *tls.Config) error {
	near, far := net.Pipe()
	for _, end := range []net.Conn{near, far} {
		if err := end.SetDeadline(time.Now().Add(30 * time.Second)); err != nil { // a pipe holds nothing: both may write
			return err
		}
	}
	result := make(chan error, 1)
	go func() {
		defer far.Close()
		conn := tls.Server(far, server)
		err := conn.Handshake()
		if err == nil {
			_, err = conn.Write([]byte("x")) // the server checks the client's certificate after the client's handshake
		}
		result <- err
	}()
	conn := tls.Client(near, client)
	err := conn.Handshake()
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	near.Close()
	return errors.Join(err, <-result)
}
