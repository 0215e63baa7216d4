//go:build amd64 || arm64

package segment

// prefetch begins to bring a record into the cache, and waits for nothing.
//
//go:noescape
func prefetch(r *rec)
