package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"petpick/src/pet"
)

// MaxInlineBytes is the largest picture that goes by POST /upload; a larger one goes by a ticket.
const MaxInlineBytes = 4_500_000

// Uploaded is the record of an uploaded picture; Created is false when it was there before.
type Uploaded struct {
	Record
	IndexVersion uint64 `json:"index_version"`
	Created      bool   `json:"created"`
}

type ticket struct {
	URL      string            `json:"url"`
	Headers  map[string]string `json:"headers"`
	Complete string            `json:"complete"`
}

// Upload sends a picture.
func (c *Client) Upload(ctx context.Context, label pet.Label, weight pet.Weight, t pet.Type, body []byte) (up Uploaded, err error) {
	if len(body) > MaxInlineBytes {
		return c.large(ctx, label, weight, t, body)
	}
	_, err = c.call(ctx, request{
		method: http.MethodPost, path: "/upload", query: url.Values{"label": {string(label)}, "weight": {weight.String()}}, mediaType: t.MediaType(), body: body,
	}, &up)
	return up, err
}

// large announces a file, sends it to the store, and has it published. A ticket that has expired meanwhile is followed by another.
func (c *Client) large(ctx context.Context, label pet.Label, weight pet.Weight, t pet.Type, body []byte) (up Uploaded, err error) {
	announcement, err := json.Marshal(map[string]any{"label": label, "type": t.MediaType(), "bytes": len(body), "weight": json.Number(weight.String())})
	if err != nil {
		return up, err
	}
	for range 2 {
		var tk ticket
		if _, err = c.call(ctx, request{method: http.MethodPost, path: "/uploads", mediaType: "application/json", body: announcement}, &tk); err != nil {
			return up, err
		}
		if !strings.HasPrefix(tk.Complete, "/uploads/") {
			return up, fmt.Errorf("%s does not answer as petpick does: its ticket is completed at %q", c.base.Host, tk.Complete)
		}
		if err = c.send(ctx, tk, body); err == nil {
			_, err = c.call(ctx, request{method: http.MethodPost, path: tk.Complete}, &up)
		}
		if s := StatusOf(err); ctx.Err() != nil || s != http.StatusForbidden && s != http.StatusConflict {
			return up, err
		}
	}
	return up, err
}

// send makes the PUT of a ticket. The store has the token of nobody.
func (c *Client) send(ctx context.Context, tk ticket, body []byte) error {
	target, err := url.Parse(tk.URL)
	if err != nil || target.Scheme != "https" && !Loopback(target) {
		return errors.New("the ticket's address is not https")
	}
	for try := 1; ; try++ {
		err := c.put(ctx, target, tk.Headers, body)
		wait, again := c.pauseAfter(err, try)
		if !again || ctx.Err() != nil || pause(ctx, wait) != nil {
			return err
		}
	}
}

func (c *Client) put(ctx context.Context, target *url.URL, headers map[string]string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, timeFor(int64(len(body))))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, target.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("the ticket's address is malformed")
	}
	for name, value := range headers {
		switch {
		case !strings.EqualFold(name, "Content-Length"):
			req.Header.Set(name, value)
		case value != strconv.Itoa(len(body)):
			return fmt.Errorf("the ticket is for %s bytes, the picture has %d", Printable(value), len(body))
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return unreachable(req, err)
	}
	defer resp.Body.Close()
	// 412: it is there; the answer to an earlier attempt was lost.
	if resp.StatusCode/100 == 2 || resp.StatusCode == http.StatusPreconditionFailed {
		return nil
	}
	return refusal(resp)
}
