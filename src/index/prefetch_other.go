//go:build !amd64 && !arm64

package index

func prefetch(*rec) {}
