package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"petpick/src/access"
	"petpick/src/blob"
	"petpick/src/index"
	"petpick/src/pet"
	"petpick/src/photo"
)

// Problem is an error as a client meets it: RFC 9457.
type Problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	RequestID string `json:"request_id"`

	// header is sent beside it: Allow, Retry-After, WWW-Authenticate.
	header map[string]string
}

func (p *Problem) Error() string { return p.Detail }

func refuse(status int, detail string) *Problem { return &Problem{Status: status, Detail: detail} }

func (p *Problem) with(name, value string) *Problem {
	p.header = map[string]string{name: value}
	return p
}

// challenge is RFC 6750's, section 3.
const challenge = `Bearer realm="petpick"`

// problemOf is the only table from errors to statuses. Whatever it does not know is a 500 that tells the client nothing.
func problemOf(err error) *Problem {
	var p *Problem
	var scope *access.ScopeError
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, pet.ErrLabel):
		return refuse(http.StatusBadRequest, pet.ErrLabel.Error())
	case errors.Is(err, pet.ErrWeight):
		return refuse(http.StatusBadRequest, pet.ErrWeight.Error())
	case errors.Is(err, access.ErrNone):
		return refuse(http.StatusUnauthorized, "this needs a bearer token").with("WWW-Authenticate", challenge)
	case errors.Is(err, access.ErrUnknown): // why is for the log: the holder of a token must not learn what is wrong with another's
		return refuse(http.StatusUnauthorized, "this token opens nothing here").with("WWW-Authenticate", challenge+`, error="invalid_token"`)
	case errors.As(err, &scope):
		return refuse(http.StatusForbidden, fmt.Sprintf("the token lacks the scope %q", scope.Missing)).
			with("WWW-Authenticate", fmt.Sprintf(`%s, error="insufficient_scope", scope=%q`, challenge, scope.Missing))
	case errors.Is(err, access.ErrUnavailable):
		return unavailable("tokens cannot be checked at the moment; send the request again").with("Retry-After", "5") // the keyring does not ask sooner
	case errors.Is(err, index.ErrEmpty):
		return refuse(http.StatusNotFound, "there is no picture to draw for this label")
	case errors.Is(err, index.ErrNoPicture), errors.Is(err, pet.ErrID):
		return refuse(http.StatusNotFound, "there is no such picture")
	case errors.Is(err, photo.ErrType):
		return refuse(http.StatusUnsupportedMediaType, err.Error())
	case errors.Is(err, photo.ErrUnsound):
		return refuse(http.StatusUnprocessableEntity, err.Error())
	case errors.Is(err, index.ErrRemoved), errors.Is(err, index.ErrBlocked):
		return refuse(http.StatusGone, "this picture was removed")
	case errors.Is(err, index.ErrChanged):
		return refuse(http.StatusPreconditionFailed, "the picture is not as If-Match says: somebody else has changed it; read its record again")
	case errors.Is(err, index.ErrFormat): // what to run is for the operator, and in the log
		return unavailable("what is stored cannot be read at the moment; send the request again")
	case errors.Is(err, index.ErrBusy):
		return unavailable("too many changes at once: this one is not in the index yet; send it again")
	case errors.Is(err, blob.ErrUnavailable), errors.Is(err, blob.ErrUnclear):
		return unavailable("the store does not answer at the moment; send the request again")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return unavailable("the request took too long; send it again")
	}
	return refuse(http.StatusInternalServerError, "internal error")
}

func unavailable(detail string) *Problem {
	return refuse(http.StatusServiceUnavailable, detail).with("Retry-After", "2")
}

// write sends the problem. Errors are never cached, whoever asks.
func (p *Problem) write(w http.ResponseWriter, requestID string) {
	out := *p
	out.Type, out.Title, out.RequestID = "about:blank", http.StatusText(p.Status), requestID
	body, err := json.Marshal(out)
	if err != nil { // strings and an int: cannot happen
		panic(err)
	}
	h := w.Header()
	for name, value := range p.header {
		h.Set(name, value)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Del("ETag")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n'))
}
