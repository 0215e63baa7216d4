package api

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"

	"petpick/src/blob"
	"petpick/src/index"
	"petpick/src/pet"
)

// MaxInlineBytes is the largest picture that goes through a Lambda: 4.5 MB, for in base64 its 6 MB hold no more.
const MaxInlineBytes = 4_500_000

// Random is what GET /random needs.
type Random struct {
	Common
	// Photos is read for format=image only.
	Photos blob.Store
}

// chacha is the runtime's generator: seeded by the system, safe for concurrent use, without a lock.
type chacha struct{}

func (chacha) Uint64() uint64 { return rand.Uint64() }

// NewRandom returns the handler of /random.
func NewRandom(cfg Random) http.Handler {
	return newServer(cfg.Common, cfg.routes())
}

func (c *Random) routes() map[string]handler {
	return map[string]handler{
		"GET /random":     c.draw,
		"OPTIONS /random": preflight,
	}
}

func preflight(w http.ResponseWriter, _ *http.Request) error {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "*")
	h.Set("Access-Control-Max-Age", "86400")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// attempts at an answer that shows the picture itself: the one drawn may have been removed since the index was read.
const attempts = 3

func (c *Random) draw(w http.ResponseWriter, r *http.Request) error {
	query, err := parameters(r.URL.RawQuery, "label", "format")
	if err != nil {
		return err
	}
	label, err := pet.ParseLabel(query["label"])
	if err != nil {
		return err
	}
	format, formatted := query["format"]
	answer := c.redirect
	switch {
	case format == "json":
		answer = c.json
	case format == "text":
		answer = c.text
	case format == "image":
		answer = c.image
	case formatted:
		return refuse(http.StatusBadRequest, "format must be json, text or image, or left out for a redirect")
	}
	idx := c.Indexes[label]
	for try := 1; ; try++ {
		pick, err := idx.Draw(r.Context(), chacha{})
		if err != nil {
			return err
		}
		err = answer(w, r, label, pick.ID)
		removed := errors.Is(err, index.ErrRemoved) || errors.Is(err, index.ErrBlocked)
		switch {
		case removed && try == attempts: // who asked for any picture must not hear of this one
			return unavailable("the picture that was drawn is being removed; send the request again")
		case try == attempts, !removed && !errors.Is(err, index.ErrNoPicture) && !errors.Is(err, blob.ErrNotFound):
			return err
		}
		if err := idx.Refresh(r.Context()); err != nil {
			return err
		}
	}
}

func (c *Random) redirect(w http.ResponseWriter, _ *http.Request, label pet.Label, id pet.ID) error {
	// Relative: right on every host that leads here, and no look-up of our own.
	w.Header().Set("Location", "/"+pet.Key(label, id))
	w.WriteHeader(http.StatusFound)
	return nil
}

func (c *Random) json(w http.ResponseWriter, r *http.Request, label pet.Label, id pet.ID) error {
	p, err := c.Indexes[label].Look(r.Context(), id)
	if err != nil {
		return err
	}
	rec, err := c.record(r.Context(), p)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, rec)
}

func (c *Random) text(w http.ResponseWriter, r *http.Request, label pet.Label, id pet.ID) error {
	url, err := c.url(r.Context(), label, id)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err = w.Write([]byte(url + "\n"))
	return err
}

func (c *Random) image(w http.ResponseWriter, r *http.Request, label pet.Label, id pet.ID) error {
	key := pet.Key(label, id)
	h := w.Header()
	if r.Method == http.MethodHead {
		info, err := c.Photos.Head(r.Context(), key)
		if err != nil {
			return err
		}
		if info.Size > MaxInlineBytes {
			return c.redirect(w, r, label, id)
		}
		h.Set("Content-Type", id.Type().MediaType())
		h.Set("Content-Length", strconv.FormatInt(info.Size, 10))
		w.WriteHeader(http.StatusOK)
		return nil
	}
	// One call, and never more than fits: the size comes with the first bytes.
	o, err := c.Photos.GetRange(r.Context(), key, 0, MaxInlineBytes)
	if err != nil {
		return err
	}
	if o.Size > MaxInlineBytes {
		return c.redirect(w, r, label, id)
	}
	h.Set("Content-Type", id.Type().MediaType())
	_, err = w.Write(o.Body)
	return err
}
