package api

import (
	"log/slog"
	"net/http"

	"petpick/src/access"
	"petpick/src/index"
	"petpick/src/pet"
)

// receipt says what a removal has done, and what it cannot do.
type receipt struct {
	ID           string    `json:"id"`
	Label        pet.Label `json:"label"`
	IndexVersion uint64    `json:"index_version"` // a version of the index that does not draw it
	Bytes        string    `json:"bytes"`
	OldVersions  string    `json:"old_versions"`
	Invalidated  string    `json:"invalidated"` // the path that the CDN was told to drop
	Blocked      bool      `json:"blocked"`
	Limits       []string  `json:"limits"`
}

// remove takes a picture down. Every step may be repeated, and an error is answered unless all of them are done.
func (c *Pets) remove(w http.ResponseWriter, r *http.Request) error {
	who, err := c.allow(r, access.Curate)
	if err != nil {
		return err
	}
	label, id, err := picture(r)
	if err != nil {
		return err
	}
	query, err := parameters(r.URL.RawQuery, "block", "purge")
	if err != nil {
		return err
	}
	block, err := flag(query, "block", true)
	if err != nil {
		return err
	}
	purge, err := flag(query, "purge", false)
	if err != nil {
		return err
	}
	holds, err := ifMatch(r)
	if err != nil {
		return err
	}
	after, old := "removed", "kept by the store for as long as its lifecycle rule says (KeepRemovedDays)"
	if block {
		after = "blocked"
	}
	res, err := c.Indexes[label].RemoveIf(r.Context(), id, block, holds)
	if err == nil && purge {
		old, err = "deleted", c.Purge(r.Context(), pet.Key(label, id))
	}
	if res.Before != "" {
		c.audit(r, "removed", who, index.Picture{Label: label, ID: id}, res.Before, after, err, slog.Bool("purge", purge))
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, receipt{
		ID: id.String(), Label: label, IndexVersion: res.Version, Bytes: "deleted", OldVersions: old, Invalidated: "/" + pet.Key(label, id), Blocked: block,
		Limits: limitsOf(block),
	})
}

// limitsOf is what nobody can promise of a removal.
func limitsOf(block bool) []string {
	limits := []string{
		"browsers and others who fetched the picture may keep their copy, for a year by its Cache-Control",
		"the CDN drops its copies some seconds after it was told",
	}
	if block {
		return append(limits, "the block knows this very picture, whatever its metadata and label: not a resized or re-encoded one")
	}
	return append(limits, "it is not blocked: the same picture may be uploaded again after 16 minutes")
}

// flag reads a boolean of the query.
func flag(query map[string]string, name string, otherwise bool) (bool, error) {
	switch v, given := query[name]; {
	case !given:
		return otherwise, nil
	case v == "true":
		return true, nil
	case v == "false":
		return false, nil
	}
	return false, refuse(http.StatusBadRequest, name+" must be true or false")
}

// picture reads the label and id of a path. A label there is an address, not an argument: an unknown one is nothing.
func picture(r *http.Request) (pet.Label, pet.ID, error) {
	label, err := pet.ParseLabel(r.PathValue("label"))
	if err != nil {
		return "", pet.ID{}, errNoRoute
	}
	id, err := pet.ParseID(r.PathValue("id"))
	return label, id, err
}
