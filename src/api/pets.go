package api

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"petpick/src/access"
	"petpick/src/index"
	"petpick/src/pet"
	"petpick/src/photo"
)

// Pets is what the routes behind API Gateway need.
type Pets struct {
	Common
	Photos *photo.Inspector
	Access interface {
		// Allow returns what logs call the token's holder, or one of the errors of access.
		Allow(ctx context.Context, token string, scope access.Scope) (string, error)
	}
	// OpenUploads lets everyone upload, without a token. Nothing opens curation.
	OpenUploads bool
	Incoming    Incoming
	// Purge deletes the old versions of an object, too.
	Purge func(ctx context.Context, key string) error
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// NewPets returns the handler of everything but /random and the pictures themselves.
func NewPets(cfg Pets) http.Handler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Incoming.MaxBytes == 0 {
		cfg.Incoming.MaxBytes = defaultMaxBytes
	}
	return newServer(cfg.Common, cfg.routes())
}

func (c *Pets) routes() map[string]handler {
	return map[string]handler{
		"POST /uploads":                   c.announce,
		"POST /uploads/{ticket}/complete": c.complete,
		"POST /upload":                    c.upload,
		"GET /pets":                       c.list,
		"GET /pets/{label}/{id}":          c.show,
		"PATCH /pets/{label}/{id}":        c.weigh,
		"DELETE /pets/{label}/{id}":       c.remove,
		"GET /stats":                      c.stats,
		"GET /healthz":                    c.healthz,
		"GET /openapi.yaml":               openAPI,
		"GET /robots.txt":                 robots,
		"GET /{$}":                        page,
	}
}

// allow checks the token before anything of the body is looked at, and returns what the log calls its holder.
func (c *Pets) allow(r *http.Request, scope access.Scope) (string, error) {
	open := c.OpenUploads && scope == access.Upload
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		if open {
			return "anyone", nil
		}
		return "", access.ErrNone
	}
	// Who sends a token where none is needed wants to be known by it, and to hear when it is not good.
	who, err := c.Access.Allow(r.Context(), token, scope)
	if lacking := (*access.ScopeError)(nil); open && errors.As(err, &lacking) {
		return who, nil
	}
	return who, err
}

func (c *Pets) show(w http.ResponseWriter, r *http.Request) error {
	label, id, err := picture(r)
	if err != nil {
		return err
	}
	p, err := c.Indexes[label].Look(r.Context(), id)
	if err != nil {
		return err
	}
	rec, err := c.record(r.Context(), p)
	if err != nil {
		return err
	}
	tag := etag(p)
	w.Header().Set("ETag", tag)
	if matches(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return writeJSON(w, http.StatusOK, rec)
}

// etag tells one state of a record from the next: only its weight can change, and each change has a sequence number.
func etag(p index.Picture) string { return fmt.Sprintf(`"%d-%d"`, p.Seq, p.Weight) }

func matches(header, tag string) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
		if candidate == tag || candidate == "*" {
			return true
		}
	}
	return false
}

type labelStats struct {
	Pictures     int         `json:"pictures"`
	Weight       totalWeight `json:"weight"`
	IndexVersion uint64      `json:"index_version"`
}

type totalWeight uint64

func (t totalWeight) MarshalJSON() ([]byte, error) { return []byte(pet.Thousandths(t)), nil }

func (c *Pets) stats(w http.ResponseWriter, r *http.Request) error {
	labels := map[pet.Label]labelStats{}
	for label, idx := range c.Indexes {
		s, err := idx.Stats(r.Context())
		if err != nil {
			return err
		}
		labels[label] = labelStats{s.Pictures, totalWeight(s.Total), s.Version}
	}
	return writeJSON(w, http.StatusOK, map[string]any{"labels": labels})
}

// unhealthy is how long the store may have failed to answer before /healthz says so.
const unhealthy = 10 * time.Second

func (c *Pets) healthz(w http.ResponseWriter, r *http.Request) error {
	for label, idx := range c.Indexes {
		s, err := idx.Stats(r.Context())
		if err != nil {
			return err
		}
		if s.FailingSince.IsZero() {
			continue
		}
		if failing := c.Now().Sub(s.FailingSince); failing > unhealthy {
			return unavailable(fmt.Sprintf("the store has not answered for %s: draws of %s go on from what is in memory", failing.Round(time.Second), label))
		}
	}
	uploads := "token"
	if c.OpenUploads {
		uploads = "open"
	}
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ok", "uploads": uploads})
}

//go:embed openapi.yaml
var openAPIText []byte

func openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/yaml")
	_, err := w.Write(openAPIText)
	return err
}

func robots(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := w.Write([]byte("User-agent: *\nDisallow: /random\n"))
	return err
}
