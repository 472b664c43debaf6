//go:build !race

package injector

// detectorsShare is how many times as much a test may allocate as the product.
const detectorsShare = 1
