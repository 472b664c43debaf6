package kube

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
)

// A replica must follow the API server again within five seconds after an outage. Four pauses add up until then, and by
// default each grows with the outage: TCP sends lost packets again after longer and longer times, on the old connection
// as on a new one that is being opened; HTTP/2 gives up a dead connection after 45 s; and a reflector waits up to a
// minute after several failures. All of them are bounded here.
const (
	// dialTimeout bounds one attempt to connect. The first packet is sent at once and again after a second, so with
	// this limit one is never more than about a second away.
	dialTimeout = 2 * time.Second
	// checkAfter is how long a connection may be silent before it is checked with a ping, and checkTimeout how long
	// the answer may take. Then it is closed, and all requests on it fail and are sent again on a new one.
	checkAfter, checkTimeout = 4 * time.Second, 4 * time.Second
	// retryPause, up to twice as long at random, is between two attempts while the API server is unavailable. It does not
	// grow. A replica has one request per kind waiting, so an API server that recovers is asked about four times a
	// second by each replica, and never by all of them at the same moment.
	retryPause = time.Second
)

// CheckConnections makes all clients of this process notice dead connections within checkAfter and checkTimeout.
// client-go can be told only by the environment, which wins if it is already set. Call it before the first client
// is made.
func CheckConnections() error {
	for name, limit := range map[string]time.Duration{
		"HTTP2_READ_IDLE_TIMEOUT_SECONDS": checkAfter,
		"HTTP2_PING_TIMEOUT_SECONDS":      checkTimeout,
	} {
		if os.Getenv(name) != "" {
			continue
		}
		if err := os.Setenv(name, strconv.Itoa(int(limit.Seconds()))); err != nil {
			return err
		}
	}
	return nil
}

// BoundDial limits each attempt to connect to the API server.
func BoundDial(config *rest.Config) {
	dial := config.Dial
	if dial == nil {
		dial = (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext
	}
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		return dial(ctx, network, address)
	}
}

// persist repeats a request while the API server is unavailable, so that the caller, a reflector, does not count the
// failures and wait longer after each. Any other error is for the reflector, which may have to start over.
func persist[T any](ctx context.Context, request func() (T, error)) (T, error) {
	for {
		result, err := request()
		if !unavailable(err) {
			return result, err
		}
		pause := time.NewTimer(wait.Jitter(retryPause, 1))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return result, err
		}
	}
}

// unavailable reports whether a request failed because the API server could not be reached, or because it is starting
// or overloaded.
func unavailable(err error) bool {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return false
	case errors.As(err, &status):
		return apierrors.IsServiceUnavailable(err) || apierrors.IsTooManyRequests(err)
	default:
		var network net.Error
		return errors.As(err, &network)
	}
}
