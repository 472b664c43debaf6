package apitest

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// outdated reports whether a request is about an old version of an object. The version, if any, is in
// the given field of the body.
func outdated(old Object, body []byte, field string) bool {
	var sent Object
	if json.Unmarshal(body, &sent) != nil {
		return false
	}
	version := nested(sent, field, "resourceVersion")
	return version != "" && version != meta(old, "resourceVersion")
}

func conflict(w http.ResponseWriter, r request) {
	fail(w, http.StatusConflict, "Conflict", fmt.Sprintf("Operation cannot be fulfilled on %s %q: the object has been modified", r.kind.resource, r.name), r.kind.resource, r.name)
}
