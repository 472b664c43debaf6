package api

// UnevenAbove is the load of a replica, relative to the fair share, above which the replicas are not balanced.
const UnevenAbove = 1.1
