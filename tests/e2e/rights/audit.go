package rights

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// Request is a request to the API server.
type Request struct {
	User string
	// Agent is the client's user agent.
	Agent           string
	Verb            string
	Group, Resource string
	Namespace, Name string
	// Refused reports whether it was forbidden, by RBAC or by an admission policy.
	Refused bool
}

func (q Request) String() string {
	where := "in the whole cluster"
	if q.Namespace != "" {
		where = "in namespace " + q.Namespace
	}
	return fmt.Sprintf("%s asked to %s %s %s (%s)", q.User, q.Verb, thing(q.Group, q.Resource, q.Name), where, q.Agent)
}

// Read reads the requests for objects from an audit log of JSON lines, beginning at a time. A last line without an
// end is still being written, and is omitted.
func Read(log io.Reader, from time.Time) ([]Request, error) {
	var asked []Request
	lines := bufio.NewReader(log)
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return asked, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		var event auditv1.Event
		if err := json.Unmarshal(bytes.TrimSpace(line), &event); err != nil {
			return nil, fmt.Errorf("read line %d of the audit log: %w", number, err)
		}
		if event.ObjectRef != nil && !event.RequestReceivedTimestamp.Time.Before(from) {
			q := request(&event)
			asked = append(asked, q)
			if created(&event) {
				q.Verb = "create"
				asked = append(asked, q)
			}
		}
	}
}

// created reports whether a patch or update created the object, as server-side apply does. The API server then also
// checks the right to create it, but does not log that.
func created(event *auditv1.Event) bool {
	return event.Verb != "create" && event.ResponseStatus != nil && event.ResponseStatus.Code == http.StatusCreated
}

// refused reports whether the user lacked a right. Writes into a terminating namespace are refused for another reason.
func refused(status *metav1.Status) bool {
	if status == nil || status.Code != http.StatusForbidden {
		return false
	}
	return status.Details == nil || !slices.ContainsFunc(status.Details.Causes, func(cause metav1.StatusCause) bool {
		return cause.Type == corev1.NamespaceTerminatingCause
	})
}

func request(event *auditv1.Event) Request {
	object := event.ObjectRef
	q := Request{
		User: event.User.Username, Agent: event.UserAgent, Verb: event.Verb,
		Group: object.APIGroup, Resource: object.Resource, Namespace: object.Namespace, Name: object.Name,
		Refused: refused(event.ResponseStatus),
	}
	if object.Subresource != "" {
		q.Resource += "/" + object.Subresource
	}
	return q
}
