package injector

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// refusalReason is the label value of osm_admission_refused_total.
type refusalReason string

const (
	// Of reviews, before they are understood.
	reasonMalformed refusalReason = "malformed" // no review, or an incomplete one
	reasonSlow      refusalReason = "slow"      // it did not arrive in time
	reasonSize      refusalReason = "size"      // larger than a review can be
	reasonMemory    refusalReason = "memory"    // it would take more than one review may
	reasonBusy      refusalReason = "busy"      // other reviews take all that there is
	// Of pods.
	reasonContainers refusalReason = "containers" // too many of them
	reasonProbes     refusalReason = "probes"     // too many of them
	reasonArguments  refusalReason = "arguments"  // the sidecar's arguments would be longer than Linux takes
	reasonReserved   refusalReason = "reserved"   // it uses what is the sidecar's
	reasonInvalid    refusalReason = "invalid"    // an annotation, a probe or a setting makes no sense
)

func refusalReasons() []refusalReason {
	return []refusalReason{
		reasonMalformed, reasonSlow, reasonSize, reasonMemory, reasonBusy,
		reasonContainers, reasonProbes, reasonArguments, reasonReserved, reasonInvalid,
	}
}

// refusal is an error with the reason under which it is counted.
type refusal struct {
	reason refusalReason
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refused(reason refusalReason, format string, args ...any) error {
	return &refusal{reason, fmt.Errorf(format, args...)}
}

// reasonOf returns what err is counted under.
func reasonOf(err error) refusalReason {
	var r *refusal
	if errors.As(err, &r) {
		return r.reason
	}
	return reasonInvalid
}

// Names come from a pod that nobody has validated yet, and may be as long as the review.
const (
	maxName    = 253
	maxMessage = 4 << 10
)

// clip shortens a text of any length.
func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	cut := limit
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return strings.ToValidUTF8(text[:cut], "") + "..."
}
