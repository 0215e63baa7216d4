package api

import (
	"maps"
	"slices"
)

// Routes are the patterns that the two handlers serve.
func Routes() []string {
	all := (&Pets{}).routes()
	maps.Copy(all, (&Random{}).routes())
	return slices.Sorted(maps.Keys(all))
}
