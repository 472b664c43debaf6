// Package image builds the project's container images from binaries, without Docker and without root.
//
// It compiles Go programs, gathers files into one layer, and hands the result to a file or a
// registry. It is not a general builder: it has no base images, no build steps and no cache.
// Its invariant: the digest of an image depends on the content of its files, its configuration and
// its platform, and on nothing else (no clock, no path, no user, no order of map or directory).
package image
