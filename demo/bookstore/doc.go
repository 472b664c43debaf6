// Package bookstore is the demo's application: a buyer and a thief of books, a store in two
// versions, and the store's warehouse, all in one program that plays one role at a time.
//
// It is an ordinary HTTP application that knows nothing of the mesh, except for one thing: it shows
// which peer the server's proxy identified. It is not a benchmark and not a test double. Its
// invariant: every number that it shows was counted from an answer or a request that it really saw.
package bookstore
