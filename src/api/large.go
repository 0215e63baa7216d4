package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"petpick/src/access"
	"petpick/src/blob"
	"petpick/src/index"
	"petpick/src/pet"
	"petpick/src/photo"
)

// A file that is too large for a request to the function goes to the store by itself, under a ticket that nobody has to remember: what was
// announced is in the object's metadata, which the signature of its PUT binds. What is published is what complete has read and checked.
const (
	ticketTime      = 15 * time.Minute // that a signature is good for
	defaultMaxBytes = photo.MaxBytes   // what a picture may have at all

	metaLabel     = "label"
	metaWeight    = "weight"
	metaPublished = "published" // the key of the picture that a completed ticket has become
)

// Incoming is where tickets are, and what becomes of them.
type Incoming struct {
	Store blob.Store
	// Presign returns a URL that a PUT of so many bytes may be sent to, and the headers that it must have.
	Presign func(ctx context.Context, key string, bytes int64, attr blob.Attr, good time.Duration) (url string, header map[string]string, err error)
	// MaxBytes of a file; 0 means 50 MB.
	MaxBytes int64
}

type announcement struct {
	label, mediaType string
	bytes            int64
	weight           pet.Weight
}

type ticket struct {
	Ticket   string            `json:"ticket"`
	Method   string            `json:"method"`
	URL      string            `json:"url"`
	Headers  map[string]string `json:"headers"`
	Expires  time.Time         `json:"expires_at"`
	Complete string            `json:"complete"`
}

// announce answers POST /uploads.
func (c *Pets) announce(w http.ResponseWriter, r *http.Request) error {
	who, err := c.allow(r, access.Upload)
	if err != nil {
		return err
	}
	a, err := readAnnouncement(r.Body)
	if err != nil {
		return err
	}
	attr, err := c.accept(a)
	if err != nil {
		return err
	}
	var random [16]byte
	_, _ = rand.Read(random[:])
	name := hex.EncodeToString(random[:])
	expires := c.Now().Add(ticketTime).UTC().Truncate(time.Second)
	url, header, err := c.Incoming.Presign(r.Context(), incomingKey(name), a.bytes, attr, ticketTime)
	if err != nil {
		return err
	}
	c.Log.InfoContext(r.Context(), "announced", slog.String("request_id", c.Trace(r.Context()).RequestID), slog.String("by", who),
		slog.String("ticket", name), slog.Int64("bytes", a.bytes))
	complete := "/uploads/" + name + "/complete"
	w.Header().Set("Location", complete)
	return writeJSON(w, http.StatusCreated, ticket{Ticket: name, Method: http.MethodPut, URL: url, Headers: header, Expires: expires, Complete: complete})
}

func incomingKey(ticket string) string { return "incoming/" + ticket }

func readAnnouncement(body io.Reader) (a announcement, err error) {
	fields, err := readObject(body, `{"label":"cat","type":"image/jpeg","bytes":12345678,"weight":2.5}`, []string{"label", "type"}, []string{"bytes", "weight"})
	if err != nil {
		return a, err
	}
	a.label, _ = fields["label"].(string)
	a.mediaType, _ = fields["type"].(string)
	if n, given := fields["bytes"].(json.Number); given {
		if a.bytes, err = n.Int64(); err != nil {
			return a, refuse(http.StatusBadRequest, "bytes must be the length of the file")
		}
	}
	a.weight = pet.DefaultWeight
	if n, given := fields["weight"].(json.Number); given {
		a.weight, err = pet.ParseWeight(n.String())
	}
	return a, err
}

// accept says what the object of an announcement must have.
func (c *Pets) accept(a announcement) (blob.Attr, error) {
	label, err := pet.ParseLabel(a.label)
	if err != nil {
		return blob.Attr{}, err
	}
	if !pet.IsMediaType(a.mediaType) {
		return blob.Attr{}, refuse(http.StatusUnsupportedMediaType, "type must be image/jpeg, image/png or image/webp")
	}
	switch {
	case a.bytes < 1:
		return blob.Attr{}, refuse(http.StatusBadRequest, "bytes must be the length of the file")
	case a.bytes > c.Incoming.MaxBytes:
		return blob.Attr{}, refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("the picture is larger than %d bytes, the limit of POST /uploads", c.Incoming.MaxBytes))
	}
	return blob.Attr{ContentType: a.mediaType, Meta: map[string]string{metaLabel: string(label), metaWeight: a.weight.String()}}, nil
}

// complete answers POST /uploads/{ticket}/complete. It may be repeated, also by several at a time: the picture is the same.
func (c *Pets) complete(w http.ResponseWriter, r *http.Request) error {
	who, err := c.allow(r, access.Upload)
	if err != nil {
		return err
	}
	name := r.PathValue("ticket")
	if raw, err := hex.DecodeString(name); err != nil || len(raw) != 16 || strings.ToLower(name) != name {
		return refuse(http.StatusNotFound, "there is no such ticket")
	}
	o, err := c.fetch(r.Context(), incomingKey(name))
	if err != nil {
		return err
	}
	if o.Attr.Meta[metaPublished] != "" {
		return c.published(w, r, o.Attr.Meta[metaPublished])
	}
	res, err := c.publish(r.Context(), o)
	if err != nil {
		return c.uploaded(w, r, who, res, err)
	}
	// The file has all its metadata still: nothing but the picture's name stays of it. Who was here first has left the same.
	done := blob.Attr{Meta: map[string]string{metaPublished: pet.Key(res.Label, res.ID)}}
	if _, err := c.Incoming.Store.Swap(r.Context(), o.Key, o.ETag, []byte(name), done); err != nil && !errors.Is(err, blob.ErrChanged) {
		c.Log.WarnContext(r.Context(), "a file stays in incoming until it expires", slog.String("ticket", name), slog.Any("error", err))
	}
	return c.uploaded(w, r, who, res, nil)
}

// fetch reads what was sent under a ticket, unless it is larger than anything that was ever announced.
func (c *Pets) fetch(ctx context.Context, key string) (blob.Object, error) {
	nothing := refuse(http.StatusConflict, "nothing was sent for this ticket yet, or it has expired").with("Retry-After", "1")
	head, err := c.Incoming.Store.Head(ctx, key)
	if errors.Is(err, blob.ErrNotFound) {
		return blob.Object{}, nothing
	}
	if err != nil {
		return blob.Object{}, err
	}
	if head.Size > c.Incoming.MaxBytes {
		return blob.Object{}, c.discard(ctx, key, refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("the picture is larger than %d bytes, the limit of POST /uploads", c.Incoming.MaxBytes)))
	}
	o, err := c.Incoming.Store.Get(ctx, key, "")
	if errors.Is(err, blob.ErrNotFound) { // another completed it, and it was refused
		return o, nothing
	}
	return o, err
}

// publish stores the bytes that were read, if they are what was announced; else the object is deleted.
func (c *Pets) publish(ctx context.Context, o blob.Object) (index.Result, error) {
	label, err1 := pet.ParseLabel(o.Attr.Meta[metaLabel])
	weight, err2 := pet.ParseWeight(o.Attr.Meta[metaWeight])
	if err := errors.Join(err1, err2); err != nil {
		return index.Result{}, c.discard(ctx, o.Key, refuse(http.StatusUnprocessableEntity, "what was sent is not what was announced: it has no label or weight"))
	}
	if media := http.DetectContentType(o.Body); pet.IsMediaType(media) && media != o.Attr.ContentType {
		return index.Result{}, c.discard(ctx, o.Key, refuse(http.StatusUnprocessableEntity, "what was sent is not what was announced: it is "+media))
	}
	res, err := c.store(ctx, label, weight, o.Body)
	if p := (*Problem)(nil); errors.Is(err, photo.ErrType) || errors.Is(err, photo.ErrUnsound) || errors.As(err, &p) && p.Status == http.StatusUnavailableForLegalReasons {
		return res, c.discard(ctx, o.Key, err)
	}
	return res, err
}

// discard deletes what will never be published, and returns why.
func (c *Pets) discard(ctx context.Context, key string, why error) error {
	if err := c.Incoming.Store.Delete(ctx, key); err != nil {
		c.Log.WarnContext(ctx, "a refused file stays in incoming until it expires", slog.String("key", key), slog.Any("error", err))
	}
	return why
}

// published answers for a ticket that was completed before.
func (c *Pets) published(w http.ResponseWriter, r *http.Request, key string) error {
	label, id, err := pet.ParseKey(key)
	if err != nil {
		return fmt.Errorf("incoming: published as %q: %w", key, err)
	}
	pic, err := c.Indexes[label].Look(r.Context(), id)
	if err != nil {
		return err
	}
	s, err := c.Indexes[label].Stats(r.Context())
	if err != nil {
		return err
	}
	return c.answerUpload(w, r, index.Result{Picture: pic, Version: s.Version})
}
