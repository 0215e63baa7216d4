package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"

	"petpick/src/access"
	"petpick/src/index"
	"petpick/src/pet"
)

// Bounds of a multipart body, beside its size.
const (
	maxParts       = 16
	maxPartHeaders = 8 << 10 // bytes of header in all parts together
	maxField       = 256     // bytes of a text field
)

var errTooLarge = refuse(http.StatusRequestEntityTooLarge,
	fmt.Sprintf("the picture is larger than %d bytes (4.5 MB), the limit of POST /upload; larger files go by POST /uploads", MaxInlineBytes))

var errMalformed = refuse(http.StatusBadRequest, "the form is malformed, or ends before its closing boundary")

// submission is an upload as it was sent.
type submission struct {
	label, weight       string
	hasLabel, hasWeight bool
	image               []byte
	hasImage            bool
}

type uploadedRecord struct {
	Record
	IndexVersion uint64 `json:"index_version"`
	Created      bool   `json:"created"`
}

func (c *Pets) upload(w http.ResponseWriter, r *http.Request) error {
	who, err := c.allow(r, access.Upload)
	if err != nil {
		return err
	}
	s, err := readSubmission(r)
	if err != nil {
		return err
	}
	label, err := pet.ParseLabel(s.label)
	if err != nil {
		return err
	}
	weight := pet.DefaultWeight
	if s.hasWeight {
		if weight, err = pet.ParseWeight(s.weight); err != nil {
			return err
		}
	}
	res, err := c.store(r.Context(), label, weight, s.image)
	return c.uploaded(w, r, who, res, err)
}

func (c *Pets) uploaded(w http.ResponseWriter, r *http.Request, who string, res index.Result, err error) error {
	if err != nil {
		if problemOf(err).Status >= http.StatusInternalServerError && res.Label != "" { // it may be drawn all the same
			c.audit(r, "uploaded", who, res.Picture, "unknown", "unknown", err)
		}
		return err
	}
	before := res.Weight.String()
	if res.Created {
		before = "absent"
	}
	c.audit(r, "uploaded", who, res.Picture, before, res.Weight.String(), nil, slog.Bool("created", res.Created), slog.Int64("bytes", res.Bytes))
	return c.answerUpload(w, r, res)
}

func (c *Pets) answerUpload(w http.ResponseWriter, r *http.Request, res index.Result) error {
	rec, err := c.record(r.Context(), res.Picture)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/pets/"+string(res.Label)+"/"+rec.ID)
	status := http.StatusOK
	if res.Created {
		status = http.StatusCreated
	}
	return writeJSON(w, status, uploadedRecord{rec, res.Version, res.Created})
}

// store publishes what is left of the upload without its metadata, under the hash of that: copies of a photo that differ only in
// metadata are one picture.
func (c *Pets) store(ctx context.Context, label pet.Label, weight pet.Weight, image []byte) (index.Result, error) {
	p, err := c.Photos.Publish(ctx, image)
	if err != nil {
		return index.Result{}, err
	}
	id := pet.NewID(sha256.Sum256(p.Body), p.Type)
	res, err := c.Indexes[label].Add(ctx, index.Photo{ID: id, Body: p.Body, Width: p.Width, Height: p.Height, Weight: weight})
	switch {
	case err == nil:
		return res, nil
	case errors.Is(err, index.ErrBlocked):
		err = refuse(http.StatusUnavailableForLegalReasons, "this picture was removed and may not be uploaded again")
	case errors.Is(err, index.ErrRemoved):
		err = refuse(http.StatusConflict, "this picture was removed a moment ago: upload it again in 16 minutes").with("Retry-After", "960")
	}
	return index.Result{Picture: index.Picture{Label: label, ID: id}}, err
}

// readSubmission takes the fields from a form, or the picture from the body and the rest from the query. The query may also
// complete a form, but nothing may be said twice: which of two labels was meant is not ours to guess.
func readSubmission(r *http.Request) (*submission, error) {
	s := &submission{}
	query, err := parameters(r.URL.RawQuery, "label", "weight")
	if err != nil {
		return nil, err
	}
	s.label, s.hasLabel = query["label"]
	s.weight, s.hasWeight = query["weight"]
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case media == "multipart/form-data":
		err = s.readForm(r.Body, params["boundary"])
	case strings.HasPrefix(media, "multipart/") || err != nil && hasPrefixFold(r.Header.Get("Content-Type"), "multipart/"):
		err = refuse(http.StatusBadRequest, "the Content-Type is malformed, or another form than multipart/form-data")
	case strings.HasPrefix(media, "text/") || media == "application/json" || strings.HasSuffix(media, "xml") || strings.HasSuffix(media, "javascript"):
		// API Gateway passes such bodies on as text: what was a picture is not one any more.
		err = refuse(http.StatusUnsupportedMediaType, "a body of type "+media+" is taken for text: send the picture as image/jpeg, image/png, image/webp or in a form")
	default:
		s.image, err = readImage(r.Body)
		s.hasImage = true
	}
	if err != nil {
		return nil, err
	}
	switch {
	case !s.hasImage:
		return nil, refuse(http.StatusBadRequest, "the form has no field image with the file")
	case len(s.image) == 0:
		return nil, refuse(http.StatusBadRequest, "the picture is empty: send its bytes as the field image of a form, or as the body")
	}
	return s, nil
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && bytes.EqualFold([]byte(s[:len(prefix)]), []byte(prefix))
}

func (s *submission) setLabel(v string) error { return setOnce("label", &s.label, &s.hasLabel, v) }

func (s *submission) setWeight(v string) error { return setOnce("weight", &s.weight, &s.hasWeight, v) }

func setOnce(name string, field *string, has *bool, v string) error {
	if *has {
		return refuse(http.StatusBadRequest, name+" is given more than once")
	}
	*field, *has = v, true
	return nil
}

// readForm streams the parts; what it keeps is bounded whatever is sent.
func (s *submission) readForm(body io.Reader, boundary string) error {
	if boundary == "" {
		return refuse(http.StatusBadRequest, "the Content-Type names no multipart boundary")
	}
	// A body that ends between two header lines looks to the reader like one that ends after its closing boundary. With a line's
	// end and an error behind the body, io.EOF only ever means the closing boundary.
	form := multipart.NewReader(io.MultiReader(body, strings.NewReader("\r\n"), unended{}), boundary)
	headers := 0
	for parts := 0; ; parts++ {
		// NextRawPart: NextPart would undo a Content-Transfer-Encoding, and a picture's bytes are not ours to change.
		part, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errMalformed
		}
		if parts == maxParts {
			return refuse(http.StatusBadRequest, fmt.Sprintf("the form has more than %d parts", maxParts))
		}
		for name, values := range part.Header {
			for _, v := range values {
				headers += len(name) + len(v)
			}
		}
		if headers > maxPartHeaders {
			return refuse(http.StatusBadRequest, fmt.Sprintf("the headers of the form's parts are larger than %d bytes", maxPartHeaders))
		}
		if err := s.readPart(part); err != nil {
			return err
		}
	}
}

func (s *submission) readPart(part *multipart.Part) error {
	switch name := part.FormName(); name {
	case "image", "file":
		if s.hasImage {
			return refuse(http.StatusBadRequest, "the form has more than one picture: send one at a time")
		}
		var err error
		s.image, err = readImage(part)
		s.hasImage = true
		return err
	case "label", "weight":
		v, err := io.ReadAll(io.LimitReader(part, maxField+1))
		if err != nil {
			return errMalformed
		}
		if len(v) > maxField {
			return refuse(http.StatusBadRequest, fmt.Sprintf("the field %s is longer than %d bytes", name, maxField))
		}
		if name == "label" {
			return s.setLabel(string(v))
		}
		return s.setWeight(string(v))
	}
	if part.FormName() == "" {
		return refuse(http.StatusBadRequest, "a part of the form has no name, or a Content-Disposition that is malformed")
	}
	// Fields that we do not know are skipped; the next call of NextRawPart reads past them.
	return nil
}

func readImage(r io.Reader) ([]byte, error) {
	image, err := io.ReadAll(io.LimitReader(r, MaxInlineBytes+1))
	if err != nil {
		return nil, errMalformed
	}
	if len(image) > MaxInlineBytes {
		return nil, errTooLarge
	}
	return image, nil
}

// unended is the end of a body that should not have ended yet.
type unended struct{}

func (unended) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
