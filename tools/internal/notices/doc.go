// Package notices says which modules are compiled into programs and under which licences they come.
//
// It reads the texts from the module cache and knows them by comparison with the known ones, not by
// what a module says of itself. Its invariant: a module without a licence, with one that it does not
// recognise, or with one that is not on the list of those that may be combined with Apache-2.0, is an
// error; and what it writes depends on the modules alone, so that it can be compared with a committed file.
package notices
