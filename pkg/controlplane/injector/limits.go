package injector

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Limits bound what admission reviews may cost. Nobody has to authenticate to send one, so the limits
// hold for the API server and for a hostile pod alike. A zero field means its default.
type Limits struct {
	// ReviewBytes is the size of one review; 4 MiB. An API server takes 3 MiB of a client, and adds
	// defaults and the managed fields.
	ReviewBytes int64
	// ReviewMemory is the estimated memory that all concurrent reviews may take; 96 MiB. One half is for
	// bodies being read and responses being written, of which one source gets a quarter; the other half is
	// for the work in between.
	ReviewMemory int64
	// Containers and Probes bound one pod, init containers included; 100 and 150.
	Containers, Probes int
	// Read is the time for a review to arrive; 5 s.
	Read time.Duration
	// Connections and PerSource bound the connections at a time, in all and from one IP address; 512 and 128.
	Connections, PerSource int
}

const (
	defaultReviewBytes  = 4 << 20
	defaultReviewMemory = 96 << 20
	defaultContainers   = 100
	defaultProbes       = 150
	defaultReviewRead   = 5 * time.Second
	defaultConnections  = 512
	defaultPerSource    = 128

	// reviewWait is how long a review waits for memory. The refusal has a Retry-After, so the API server retries
	// a second later, until its own timeout.
	reviewWait = 2 * time.Second
	retryAfter = "1"
	// reviewWrite bounds how long a client may take to read the response.
	reviewWrite = 15 * time.Second
	// reviewIdle is how long a connection may wait for its next review. The API server closes it after 90 s, and has to
	// be the first: a review that it sends while the injector closes is lost.
	reviewIdle = 2 * time.Minute

	// Namespaces that the cache does not know are looked up at the API server, a few at a time: a
	// review can name any.
	lookups          = 8
	lookupsPerSource = 2
	lookupTime       = 3 * time.Second
)

// WithDefaults returns the limits that are in force.
func (l Limits) WithDefaults() Limits {
	return Limits{
		ReviewBytes: cmp.Or(l.ReviewBytes, defaultReviewBytes), ReviewMemory: cmp.Or(l.ReviewMemory, defaultReviewMemory),
		Containers: cmp.Or(l.Containers, defaultContainers), Probes: cmp.Or(l.Probes, defaultProbes),
		Read: cmp.Or(l.Read, defaultReviewRead), Connections: cmp.Or(l.Connections, defaultConnections), PerSource: cmp.Or(l.PerSource, defaultPerSource),
	}
}

// Validate reports everything that is wrong with l, joined.
func (l Limits) Validate() error {
	var errs []error
	positive := func(flag string, value int64) {
		if value < 0 {
			errs = append(errs, fmt.Errorf("%s is negative: want more than 0", flag))
		}
	}
	positive("--max-review-size", l.ReviewBytes)
	positive("--max-review-memory", l.ReviewMemory)
	positive("--max-containers", int64(l.Containers))
	positive("--max-probes", int64(l.Probes))
	positive("--review-timeout", int64(l.Read))
	positive("--max-connections", int64(l.Connections))
	positive("--max-connections-per-source", int64(l.PerSource))
	d := l.WithDefaults()
	if d.ReviewBytes*sourceParts*halves > d.ReviewMemory {
		errs = append(errs, fmt.Errorf("--max-review-memory is %d: want at least %d times --max-review-size (%d), or the largest review would never be admitted",
			d.ReviewMemory, sourceParts*halves, d.ReviewBytes))
	}
	return errors.Join(errs...)
}

// maxArgument is what Linux takes in one argument (MAX_ARG_STRLEN), less the NUL at its end. A pod that
// exceeds it would be created and never start.
const (
	maxArgument = 128<<10 - 1
	maxAddress  = len("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
)

// addedContainers are osm-init and envoy.
const addedContainers = 2

func (l Limits) checkContainers(pod *corev1.Pod) error {
	limit := l.WithDefaults().Containers
	n := len(pod.Spec.InitContainers) + len(pod.Spec.Containers)
	if n > limit && n <= limit+addedContainers && hasSidecar(pod) {
		n -= addedContainers // of the earlier injection
	}
	if n > limit {
		return refused(reasonContainers, "the pod has %d containers: at most %d are allowed (chart value osm.injector.limits.containers)", n, limit)
	}
	return nil
}

// checkProbes refuses a pod before anything is built from its probes.
func (l Limits) checkProbes(found []probe) error {
	n := len(found)
	if limit := l.WithDefaults().Probes; n > limit {
		return refused(reasonProbes, "the sidecar would have to answer %d probes and hooks of the pod: at most %d are allowed (chart value osm.injector.limits.probes)", n, limit)
	}
	text := 0
	for _, p := range found {
		text += len(p.path) + len(p.service) + len(p.container)
	}
	if text > maxArgument {
		return refused(reasonArguments, "the paths and names of the pod's probes have %d bytes, and Linux takes %d in one argument: use fewer or shorter ones", text, maxArgument)
	}
	return nil
}

// checkArguments refuses a container of ours that Linux would not start.
func checkArguments(c corev1.Container) error {
	for _, argument := range c.Args {
		// The kubelet puts an address in place of a reference.
		length := len(argument) + strings.Count(argument, podIPReference)*(maxAddress-len(podIPReference))
		if length > maxArgument {
			return refused(reasonArguments, "an argument of container %s would have up to %d bytes, and Linux takes %d: the pod needs fewer or shorter probes, or shorter exclusion lists", c.Name, length, maxArgument)
		}
	}
	return nil
}
