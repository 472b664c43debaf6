package fleet

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Kind is a type of xDS resource.
type Kind uint8

// The kinds that a fleet asks for.
const (
	CDS Kind = iota
	EDS
	SDS
	LDS
	RDS
	NumKinds
)

// String returns "cds", "eds", "sds", "lds" or "rds".
func (k Kind) String() string { return [NumKinds]string{"cds", "eds", "sds", "lds", "rds"}[k] }

// The type URLs are Envoy's: the fleet does not take them from the code under test.
const (
	typeCluster  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	typeEndpoint = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	typeSecret   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	typeListener = "type.googleapis.com/envoy.config.listener.v3.Listener"
	typeRoute    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
)

func (k Kind) typeURL() string {
	return [NumKinds]string{typeCluster, typeEndpoint, typeSecret, typeListener, typeRoute}[k]
}

func kindOf(typeURL []byte) (Kind, error) {
	for k := range NumKinds {
		if string(typeURL) == k.typeURL() {
			return k, nil
		}
	}
	return 0, fmt.Errorf("response of the unknown type %q", typeURL)
}

// response is a DeltaDiscoveryResponse or a DiscoveryResponse. Its slices are parts of the message.
type response struct {
	kind      Kind
	version   []byte // of the whole; only in the state of the world
	nonce     []byte
	resources []element
	removed   [][]byte
}

// element is one resource of a response. In the state of the world it has no version, and its name
// is in its content.
type element struct {
	name, version, body []byte
}

var errTruncated = errors.New("response is not valid protobuf")

// eachField calls visit with every length-delimited field of a message and skips the others.
func eachField(message []byte, visit func(number protowire.Number, value []byte) error) error {
	for len(message) > 0 {
		number, wireType, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errTruncated
		}
		message = message[n:]
		if wireType != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, wireType, message); n < 0 {
				return errTruncated
			}
			message = message[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(message)
		if n < 0 {
			return errTruncated
		}
		message = message[n:]
		if err := visit(number, value); err != nil {
			return err
		}
	}
	return nil
}

// parseDelta reads a DeltaDiscoveryResponse. r's slices are reused.
func parseDelta(message []byte, r *response) error {
	r.resources, r.removed, r.nonce = r.resources[:0], r.removed[:0], nil
	var typeURL []byte
	err := eachField(message, func(number protowire.Number, value []byte) error {
		switch number {
		case 2:
			e, err := parseResource(value)
			r.resources = append(r.resources, e)
			return err
		case 4:
			typeURL = value
		case 5:
			r.nonce = value
		case 6:
			r.removed = append(r.removed, value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.kind, err = kindOf(typeURL)
	return err
}

func parseResource(message []byte) (e element, err error) {
	err = eachField(message, func(number protowire.Number, value []byte) error {
		switch number {
		case 1:
			e.version = value
		case 2:
			var err error
			e.body, err = anyValue(value)
			return err
		case 3:
			e.name = value
		}
		return nil
	})
	return e, err
}

// parseSotw reads a DiscoveryResponse. r's slices are reused.
func parseSotw(message []byte, r *response) error {
	r.resources, r.removed, r.nonce, r.version = r.resources[:0], r.removed[:0], nil, nil
	var typeURL []byte
	err := eachField(message, func(number protowire.Number, value []byte) error {
		switch number {
		case 1:
			r.version = value
		case 2:
			body, err := anyValue(value)
			if err != nil {
				return err
			}
			name, err := nameOf(body)
			r.resources = append(r.resources, element{name: name, body: body})
			return err
		case 4:
			typeURL = value
		case 5:
			r.nonce = value
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.kind, err = kindOf(typeURL)
	return err
}

// anyValue returns the content of an Any.
func anyValue(message []byte) (value []byte, err error) {
	err = eachField(message, func(number protowire.Number, field []byte) error {
		if number == 2 {
			value = field
		}
		return nil
	})
	return value, err
}

// nameOf returns the first field of a resource, which is its name in all five types.
func nameOf(body []byte) (name []byte, err error) {
	err = eachField(body, func(number protowire.Number, field []byte) error {
		if number == 1 && name == nil {
			name = field
		}
		return nil
	})
	return name, err
}
