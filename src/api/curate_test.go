package api_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"petpick/src/blob/blobtest"
	"petpick/src/gateway"
	"petpick/src/photo/phototest"
)

// pageOf asks for a page.
func (h *house) pageOf(t *testing.T, query string) (ids []string, weights []string, cursor string) {
	t.Helper()
	a := h.apiAs(t, "Bearer curator", "GET", "/pets", "GET /pets", nil, query)
	var page struct {
		Pets []struct {
			ID     string
			Weight json.Number
		}
		Cursor string
	}
	if err := json.Unmarshal(a.Body, &page); err != nil || a.Status != 200 || page.Pets == nil {
		t.Fatalf("%s: %d %s %v", query, a.Status, a.Body, err)
	}
	for _, p := range page.Pets {
		ids, weights = append(ids, p.ID), append(weights, p.Weight.String())
	}
	return ids, weights, page.Cursor
}

func TestListing(t *testing.T) {
	h := newHouse()
	var want []string
	for i := range uint64(11) {
		want = append(want, h.upload(t, phototest.PNG(i, 4, 4)))
	}
	slices.Sort(want)
	h.patch(t, want[3], "", `{"weight":0}`, 200)
	for _, limit := range []string{"", "&limit=1", "&limit=4", "&limit=11", "&limit=1000"} {
		var got []string
		for cursor, pages := "", 0; ; pages++ {
			ids, _, next := h.pageOf(t, "label=cat&i=9"+limit+cursor)
			got = append(got, ids...)
			if next == "" {
				break
			}
			if cursor = "&cursor=" + url.QueryEscape(next); pages > 20 {
				t.Fatal("no end")
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %v\nwant %v", limit, got, want)
		}
	}
	if ids, weights, _ := h.pageOf(t, "label=cat"); weights[3] != "0" || ids[3] != want[3] {
		t.Errorf("the paused picture: %v %v", ids, weights)
	}
	_, _, cursor := h.pageOf(t, "label=cat&limit=2")
	for query, detail := range map[string]string{
		"": "label", "label=": "label", "label=Cat": "label", "label=cat&label=dog": "label",
		"label=cat&limit=": "limit", "label=cat&limit=0": "limit", "label=cat&limit=1001": "limit", "label=cat&limit=-1": "limit", "label=cat&limit=%2B5": "limit",
		"label=cat&limit=5.0": "limit", "label=cat&limit=05": "limit", "label=cat&limit=99999999999999999999": "limit", "label=cat&limit=1&limit=2": "limit",
		"label=cat&cursor=": "cursor", "label=cat&cursor=x": "cursor", "label=cat&cursor=" + cursor + "A": "cursor", "label=cat&cursor=" + cursor[1:]: "cursor",
		"label=dog&cursor=" + cursor: "cursor", "label=cat&cursor=" + cursor + "&cursor=" + cursor: "cursor", "label=cat&cursor=%zz": "cursor",
		"label=cat&cursor=" + base64.RawURLEncoding.EncodeToString([]byte("cat/../index/cat/root")): "cursor",
		"label=cat&cursor=" + base64.RawURLEncoding.EncodeToString([]byte("verdicts/cat/"+want[0])): "cursor",
		"label=cat&cursor=" + strings.Repeat("A", 5000):                                             "cursor",
	} {
		a := h.apiAs(t, "Bearer curator", "GET", "/pets", "GET /pets", nil, query)
		if a.Status != 400 || !strings.Contains(string(a.Body), `"detail":"`+detail) {
			t.Errorf("%q: %d %s, want 400 that speaks of %s", query, a.Status, a.Body, detail)
		}
	}
	if a := h.apiAs(t, "Bearer uploader", "GET", "/pets", "GET /pets", nil, "label=bird"); a.Status != 403 {
		t.Errorf("without the scope, before anything else: %d", a.Status)
	}
}

func (h *house) patch(t *testing.T, id, ifMatch, body string, want int) gateway.Answer {
	t.Helper()
	e := exchange{method: "PATCH", path: "/pets/cat/" + id, as: "curator", body: []byte(body), header: map[string]string{}}
	if ifMatch != "" {
		e.header["If-Match"] = ifMatch
	}
	a := h.send(t, e, "PATCH /pets/{label}/{id}")
	if a.Status != want {
		t.Errorf("If-Match %q, %.80q: %d %s, want %d", ifMatch, body, a.Status, a.Body, want)
	}
	return a
}

func TestWeights(t *testing.T) {
	h := newHouse()
	id := h.upload(t, phototest.JPEG(1, 8, 8))
	for body, weight := range map[string]string{
		`{"weight":2.5}`: "2.5", ` { "weight" : 16777.215 } ` + "\n": "16777.215", `{"weight":0}`: "0", `{"weight":0.001}`: "0.001", `{"weight":1.50}`: "1.5", `{"\u0077eight":3}`: "3",
	} {
		a := h.patch(t, id, "", body, 200)
		show := h.api(t, "GET", "/pets/cat/"+id, "GET /pets/{label}/{id}", nil, "")
		if !strings.Contains(string(a.Body), `"weight":`+weight+",") || string(show.Body) != string(a.Body) || show.Header.Get("ETag") != a.Header.Get("ETag") {
			t.Errorf("%s: answered %s %v\nthen shown %s %v", body, a.Body, a.Header, show.Body, show.Header)
		}
	}
	for body, detail := range map[string]string{
		``: "not an object", `{`: "not well-formed", `null`: "not an object", `[]`: "not an object", `"weight"`: "not an object", `2.5`: "not an object", `{}`: "missing",
		`{"weight":}`: "not well-formed", `{"weight" 2}`: "not well-formed", `{"weight":2`: "not well-formed", `{"weight":02}`: "", `{"weight":2,}`: "not well-formed",
		`{"weight":"2.5"}`: "not a number", `{"weight":null}`: "not a number", `{"weight":true}`: "not a number", `{"weight":[2]}`: "not a number", `{"weight":{"weight":2}}`: "not a number",
		`{"weight":NaN}`: "not well-formed", `{"weight":Infinity}`: "not well-formed", `{"weight":-1}`: "number from 0", `{"weight":-0}`: "number from 0", `{"weight":1e9}`: "number from 0",
		`{"weight":2.5e0}`: "number from 0", `{"weight":2.5001}`: "number from 0", `{"weight":16777.216}`: "number from 0", `{"weight":99999999999999999999}`: "number from 0",
		`{"Weight":2}`: "unknown", `{"wieght":2}`: "unknown", `{"weight":2,"label":"dog"}`: "unknown", `{"weight":2,"weight":3}`: "more than once", `{"weight":2}{"weight":3}`: "behind",
		`{"weight":2} x`: "behind", "{\"weight\":2}\x00": "behind", "\xef\xbb\xbf{\"weight\":2}": "not an object", `{"` + strings.Repeat("x", 4000) + `":1}`: "unknown",
	} {
		if a := h.patch(t, id, "", body, 400); !strings.Contains(string(a.Body), detail) {
			t.Errorf("%.60q: %s, want %q", body, a.Body, detail)
		}
	}
	if a := h.patch(t, id, "", `{"weight":2}`+strings.Repeat(" ", 5000), 413); !strings.Contains(string(a.Body), "4096") {
		t.Errorf("the limit is not named: %s", a.Body)
	}
	h.patch(t, strings.Repeat("0", 31)+"1", "", `{"weight":2}`, 404)
	h.patch(t, "nonsense", "", `{"weight":2}`, 404)
}

func TestIfMatch(t *testing.T) {
	h := newHouse()
	id := h.upload(t, phototest.JPEG(1, 8, 8))
	tag := func() string {
		return h.api(t, "GET", "/pets/cat/"+id, "GET /pets/{label}/{id}", nil, "").Header.Get("ETag")
	}
	old := tag()
	h.patch(t, id, "*", `{"weight":2}`, 200)
	h.patch(t, id, old, `{"weight":3}`, 412)
	h.patch(t, id, `"x", `+tag(), `{"weight":4}`, 200)
	h.patch(t, id, tag()+`,"y"`, `{"weight":4}`, 200) // again the same weight is a change, too
	h.patch(t, id, "W/"+tag(), `{"weight":5}`, 412)
	for _, malformed := range []string{strings.Trim(tag(), `"`), " ", ",", `"a`, `"a" "b"`, "*, " + tag(), `"a",`, `""x`} {
		h.patch(t, id, malformed, `{"weight":6}`, 400)
		e := exchange{method: "DELETE", path: "/pets/cat/" + id, as: "curator", header: map[string]string{"If-Match": malformed}}
		if a := h.send(t, e, "DELETE /pets/{label}/{id}"); a.Status != 400 {
			t.Errorf("DELETE with %q: %d", malformed, a.Status)
		}
	}
	if a := h.api(t, "GET", "/pets/cat/"+id, "GET /pets/{label}/{id}", nil, ""); !strings.Contains(string(a.Body), `"weight":4,`) {
		t.Errorf("something that was refused has changed it: %s", a.Body)
	}
}

// Of many curators who have seen the same record, one changes it or removes it, and the others are told.
func TestCuratorsAtOnce(t *testing.T) {
	h := newHouse()
	id := h.upload(t, phototest.JPEG(1, 8, 8))
	const many = 24
	for round := range 3 {
		tag := h.api(t, "GET", "/pets/cat/"+id, "GET /pets/{label}/{id}", nil, "").Header.Get("ETag")
		var wg sync.WaitGroup
		var mu sync.Mutex
		statuses := map[int]int{}
		for i := range many {
			wg.Go(func() {
				e := exchange{method: "PATCH", path: "/pets/cat/" + id, as: "curator", header: map[string]string{"If-Match": tag}, body: fmt.Appendf(nil, `{"weight":%d}`, i)}
				if round == 2 && i%2 == 0 {
					e.method, e.body = "DELETE", nil
				}
				a := h.send(t, e, e.method+" /pets/{label}/{id}")
				mu.Lock()
				defer mu.Unlock()
				if statuses[a.Status]++; a.Status == 200 && e.method == "PATCH" && !strings.Contains(string(a.Body), fmt.Sprintf(`"weight":%d,`, i)) {
					t.Errorf("asked for %d, got %s", i, a.Body)
				}
			})
		}
		wg.Wait()
		if round == 2 { // a change of what is removed already
			statuses[412] += statuses[410]
		}
		if statuses[200] != 1 || statuses[412] != many-1 {
			t.Errorf("round %d: %v, want one 200 and else 412, or 410 after a removal", round, statuses)
		}
	}
}

// Every change leaves a line that says who did what: also one whose caller was told that it is not done.
func TestAudit(t *testing.T) {
	h := newHouse()
	jpg := phototest.JPEG(1, 8, 8)
	id := h.upload(t, jpg)
	h.upload(t, phototest.JPEG(2, 8, 8))
	if a := h.api(t, "POST", "/upload", "POST /upload", jpg, "label=cat&weight=9"); a.Status != 200 {
		t.Fatal(a.Status)
	}
	h.patch(t, id, "", `{"weight":2.5}`, 200)
	h.patch(t, id, `"9-9"`, `{"weight":3}`, 412) // no change, no line
	h.store.Fail(func(op blobtest.Op, key string) error {
		if op == blobtest.Create && strings.HasPrefix(key, "journal/") {
			return blobtest.Outage(op, key)
		}
		return nil
	}, nil)
	h.patch(t, id, "", `{"weight":4}`, 503)
	h.store.Fail(nil, nil)
	for range 2 {
		e := exchange{method: "DELETE", path: "/pets/cat/" + id, as: "curator"}
		if a := h.send(t, e, "DELETE /pets/{label}/{id}"); a.Status != http.StatusOK {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(h.log.String()), "\n") {
		var l struct {
			Msg, By, Label, ID, Before, After, Error string
			RequestID                                string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l.Msg == "request" || l.ID != id {
			continue
		}
		if l.RequestID == "" || l.Label != "cat" {
			t.Errorf("a line lacks something: %s", line)
		}
		got = append(got, fmt.Sprintf("%s by %s: %s to %s, failed: %v", l.Msg, l.By, l.Before, l.After, l.Error != ""))
	}
	want := []string{
		"uploaded by dev: absent to 1, failed: false", "uploaded by dev: 1 to 1, failed: false", "weighed by a curator: 1 to 2.5, failed: false",
		"weighed by a curator: 2.5 to 4, failed: true", "removed by a curator: 4 to blocked, failed: false", "removed by a curator: blocked to blocked, failed: false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
