//go:build !amd64 && !arm64

package segment

func prefetch(*rec) {}
