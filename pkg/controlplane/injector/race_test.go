//go:build race

package injector

// detectorsShare is how many times as much a test may allocate as the product: the race detector pads what
// is allocated.
const detectorsShare = 2
