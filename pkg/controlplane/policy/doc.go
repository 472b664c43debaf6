// Package policy decides: what a class of workloads may receive, send and reach.
//
// Every allow and every deny of the mesh is taken here, from a mesh.Snapshot alone; envoy only
// writes the decision down. It knows neither Kubernetes nor Envoy. Its invariant: emptiness
// denies. "Anyone in the mesh" is an explicit value (AnyWorkload), never the absence of one, and a
// decision can be read in one way only, which has an answer for each kind (VisitPrincipals).
package policy
