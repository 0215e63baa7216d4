package main

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"petpick/src/photo/phototest"
)

type receipt struct {
	ID, Label, Bytes string
	Invalidated      string
	OldVersions      string `json:"old_versions"`
	IndexVersion     int    `json:"index_version"`
	Blocked          bool
	Limits           []string
}

// A takedown as the operator and everyone else see it.
func TestRemoval(t *testing.T) {
	s := start(t, t.TempDir())
	body := phototest.JPEG(5, 9, 9)
	rec := s.upload(t, "cat", "2", body)
	path, photo := "/pets/cat/"+rec.ID, "/cat/"+rec.ID+".jpg"
	for range 2 { // the second comes from the edge's cache
		if r := s.get(t, photo); r.status != http.StatusOK {
			t.Fatalf("before: %d", r.status)
		}
	}
	call := func(method, path string, header map[string]string, want int) reply {
		t.Helper()
		r, err := s.do(method, path, header, nil)
		if err != nil || r.status != want {
			t.Errorf("%s %s: %d %s %v, want %d", method, path, r.status, r.body, err, want)
		}
		return r
	}
	call("DELETE", path, nil, http.StatusUnauthorized)
	call("DELETE", path+"?block=perhaps", asDev, http.StatusBadRequest)
	call("DELETE", path+"?purge=1", asDev, http.StatusBadRequest)
	call("DELETE", path+"?block=true&block=false", asDev, http.StatusBadRequest)
	call("DELETE", "/pets/cat/"+strings.Repeat("0", 31)+"1", asDev, http.StatusNotFound)
	call("DELETE", "/pets/cat/nonsense", asDev, http.StatusNotFound)
	call("DELETE", "/pets/bird/"+rec.ID, asDev, http.StatusNotFound)
	if r := s.get(t, photo); r.status != http.StatusOK {
		t.Fatalf("after what was refused: %d", r.status)
	}
	got := decode[receipt](t, call("DELETE", path, asDev, http.StatusOK).body)
	if got.ID != rec.ID || got.Label != "cat" || got.Bytes != "deleted" || got.Invalidated != photo || !got.Blocked || got.IndexVersion <= rec.IndexVersion || len(got.Limits) < 3 {
		t.Errorf("receipt: %+v", got)
	}
	call("GET", photo, nil, http.StatusForbidden)
	call("GET", path, nil, http.StatusGone)
	call("GET", "/random?label=cat", nil, http.StatusNotFound)
	for _, label := range []string{"cat", "dog"} {
		if r, err := s.do("POST", "/upload?label="+label, asDev, bytes.NewReader(body)); err != nil || r.status != http.StatusUnavailableForLegalReasons {
			t.Errorf("again as a %s: %d %s %v", label, r.status, r.body, err)
		}
	}
	call("DELETE", path, asDev, http.StatusOK) // a repeat finds nothing left to do
	if got := decode[receipt](t, call("DELETE", path+"?block=false&purge=true", asDev, http.StatusOK).body); got.Blocked || got.OldVersions != "deleted" {
		t.Errorf("receipt: %+v", got)
	}
	r, err := s.do("POST", "/upload?label=cat", asDev, bytes.NewReader(body))
	if err != nil || r.status != http.StatusConflict || r.header.Get("Retry-After") == "" {
		t.Errorf("within 16 minutes: %d %s %v", r.status, r.body, err)
	}
	if r, err := s.do("POST", "/upload?label=dog", asDev, bytes.NewReader(body)); err != nil || r.status != http.StatusCreated {
		t.Errorf("as a dog, unblocked: %d %s %v", r.status, r.body, err)
	}
}
