package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"petpick/src/access"
	"petpick/src/index"
	"petpick/src/pet"
)

const (
	defaultPage = 100
	maxPage     = 1000
)

type listing struct {
	Pets []Record `json:"pets"`
	// Cursor leads to the next page; it is absent on the last.
	Cursor string `json:"cursor,omitempty"`
}

// list answers GET /pets: a label's pictures in the order of their ids, the paused ones among them.
func (c *Pets) list(w http.ResponseWriter, r *http.Request) error {
	if _, err := c.allow(r, access.Curate); err != nil {
		return err
	}
	query, err := parameters(r.URL.RawQuery, "label", "limit", "cursor")
	if err != nil {
		return err
	}
	label, err := pet.ParseLabel(query["label"])
	if err != nil {
		return err
	}
	limit, err := pageSize(query)
	if err != nil {
		return err
	}
	after, err := afterCursor(query, label)
	if err != nil {
		return err
	}
	pics, next, more, err := c.Indexes[label].List(r.Context(), after, limit)
	if err != nil {
		return err
	}
	page := listing{Pets: make([]Record, len(pics))}
	for i, p := range pics {
		if page.Pets[i], err = c.record(r.Context(), p); err != nil {
			return err
		}
	}
	if more {
		page.Cursor = cursorAfter(label, next)
	}
	return writeJSON(w, http.StatusOK, page)
}

func pageSize(query map[string]string) (int, error) {
	text, given := query["limit"]
	if !given {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage || strconv.Itoa(n) != text {
		return 0, refuse(http.StatusBadRequest, fmt.Sprintf("limit must be a number from 1 to %d", maxPage))
	}
	return n, nil
}

// cursorAfter names the last picture that was looked at rather than a position: whatever is added or removed before it moves nothing.
func cursorAfter(label pet.Label, id pet.ID) string {
	return base64.RawURLEncoding.EncodeToString([]byte(pet.Key(label, id)))
}

func afterCursor(query map[string]string, label pet.Label) (pet.ID, error) {
	text, given := query["cursor"]
	if !given {
		return pet.ID{}, nil
	}
	key, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err == nil {
		var l pet.Label
		var id pet.ID
		if l, id, err = pet.ParseKey(string(key)); err == nil && l == label {
			return id, nil
		}
	}
	return pet.ID{}, refuse(http.StatusBadRequest, "cursor must be one that a list of the same label has answered with")
}

// weigh answers PATCH /pets/{label}/{id}.
func (c *Pets) weigh(w http.ResponseWriter, r *http.Request) error {
	who, err := c.allow(r, access.Curate)
	if err != nil {
		return err
	}
	label, id, err := picture(r)
	if err != nil {
		return err
	}
	holds, err := ifMatch(r)
	if err != nil {
		return err
	}
	weight, err := readWeight(r.Body)
	if err != nil {
		return err
	}
	res, err := c.Indexes[label].SetIf(r.Context(), id, weight, holds)
	if res.Before != "" {
		c.audit(r, "weighed", who, res.Picture, res.Before, weight.String(), err)
	}
	if err != nil {
		return err
	}
	rec, err := c.record(r.Context(), res.Picture)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", etag(res.Picture))
	return writeJSON(w, http.StatusOK, rec)
}

func readWeight(body io.Reader) (pet.Weight, error) {
	const like = `{"weight":2.5}`
	fields, err := readObject(body, like, nil, []string{"weight"})
	if err != nil {
		return 0, err
	}
	number, given := fields["weight"].(json.Number)
	if !given {
		return 0, refuse(http.StatusBadRequest, "weight is missing: the body must be JSON such as "+like)
	}
	return pet.ParseWeight(number.String()) // as it was written: 2.5e0 is no weight
}

var entityTags = regexp.MustCompile(`^(W/)?"[!#-~]*"([ \t]*,[ \t]*(W/)?"[!#-~]*")*$`)

// ifMatch is the condition of a request, nil when it has none. A header that cannot be read is an error: to ignore it would overwrite what it
// was there to protect.
func ifMatch(r *http.Request) (func(index.Picture) bool, error) {
	values, given := r.Header["If-Match"]
	if !given {
		return nil, nil
	}
	header := strings.TrimSpace(strings.Join(values, ","))
	if header == "*" {
		return func(index.Picture) bool { return true }, nil
	}
	if !entityTags.MatchString(header) {
		return nil, refuse(http.StatusBadRequest, `If-Match must be an ETag with its quotes, such as "3-2500", or *`)
	}
	return func(p index.Picture) bool {
		for tag := range strings.SplitSeq(header, ",") {
			if strings.TrimSpace(tag) == etag(p) { // a weak one never matches here: RFC 9110, 13.1.1
				return true
			}
		}
		return false
	}, nil
}

// audit writes the line that says who has changed what of a picture; with an error, that it was begun, and that nobody was told it is done.
func (c *Pets) audit(r *http.Request, what, who string, p index.Picture, before, after string, err error, more ...slog.Attr) {
	level, attrs := slog.LevelInfo, append([]slog.Attr{
		slog.String("request_id", c.Trace(r.Context()).RequestID), slog.String("by", who), slog.String("label", string(p.Label)),
		slog.String("id", p.ID.String()), slog.String("before", before), slog.String("after", after),
	}, more...)
	if err != nil {
		level, attrs = slog.LevelWarn, append(attrs, slog.Any("error", err))
	}
	c.Log.LogAttrs(r.Context(), level, what, attrs...)
}
