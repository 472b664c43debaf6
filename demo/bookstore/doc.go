// Package bookstore is the demo's application: a buyer and a thief of books, a store in two
// versions, and the store's warehouse, all in one program that runs one role at a time.
//
// It is an ordinary HTTP application that knows nothing about the mesh, with one exception: it shows
// which peer the server's proxy identified. It is not a benchmark and not a test double. Its
// invariant: every number that it shows was counted from a real request or response.
package bookstore
