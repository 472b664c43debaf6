package injector

import (
	"fmt"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
)

// maxDepth of nested values: a pod with managed fields has about twenty.
const maxDepth = 100

// shape decides how much memory a JSON document takes when decoded.
type shape struct{ objects, values int64 }

// measure counts objects and values without decoding anything, so that a review whose few bytes
// would become hundreds of megabytes, as {"containers":[{},{},...]} does, is refused before. It is exact
// for valid JSON; what is not valid fails later.
func measure(text []byte) (shape, error) {
	var s shape
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i = endOfString(text, i)
		case '{', '[':
			if depth++; depth > maxDepth {
				return shape{}, fmt.Errorf("more than %d nested values", maxDepth)
			}
			if text[i] == '{' {
				s.objects++
			}
			s.values++
		case '}', ']':
			depth--
		case ',':
			s.values++
		}
	}
	return s, nil
}

// endOfString returns the index of the quote that ends the string that begins at start.
func endOfString(text []byte, start int) int {
	for i := start + 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(text)
}

// What answering allocates at most, live or not, by parts of the review; TestCostCoversTheMemory holds it
// against what is measured. Each byte is copied into the raw object and into strings. A value is an element
// of a slice or a map that grew step by step. An object may be a container, the largest element of a pod's
// lists.
const (
	costOfReview  = 1 << 20 // what does not depend on the review: most of Envoy's bootstrap
	costPerByte   = 6
	costPerValue  = 256
	costPerObject = 6 * int64(unsafe.Sizeof(corev1.Container{}))
	costPerProbe  = 96 << 10 // Envoy's route and cluster, and their JSON
)

// cost is the memory for decoding a review of this size and shape and building the rest, without its probes.
func (s shape) cost(length int) int64 {
	return costOfReview + costPerByte*int64(length) + costPerValue*s.values + costPerObject*s.objects
}

// probeCost is the additional memory for the probes of a decoded pod.
func probeCost(pod *corev1.Pod) int64 {
	n := int64(0)
	for _, c := range everyContainer(pod) {
		for _, kind := range probeKinds() {
			if kind.of(&c) != nil {
				n++
			}
		}
	}
	return n * costPerProbe
}
