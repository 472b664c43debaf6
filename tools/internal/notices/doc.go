// Package notices lists the modules that are compiled into programs, and their licenses.
//
// It reads the texts from the module cache and identifies them by comparison with known ones, not by
// what a module claims. Its invariant: a module without a license, with one that it does not
// recognize, or with one that is not on the list of those that may be combined with Apache-2.0, is an
// error; and its output depends only on the modules, so that it can be compared with a committed file.
package notices
