package api_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"petpick/src/api"
	"petpick/src/blob/blobtest"
	"petpick/src/gateway"
	"petpick/src/pet"
	"petpick/src/photo/phototest"
)

// contract is the document that the service answers with.
func contract(t *testing.T, h *house) *openapi3.T {
	t.Helper()
	a := h.api(t, "GET", "/openapi.yaml", "GET /openapi.yaml", nil, "")
	if a.Status != 200 || a.Header.Get("Content-Type") != "application/yaml" || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %d %v", a.Status, a.Header)
	}
	doc, err := openapi3.NewLoader().LoadFromData(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// Every route is in the document, and nothing else but HEAD and the pictures, which come from the bucket.
func TestTheContractHasEveryRoute(t *testing.T) {
	doc := contract(t, newHouse())
	var got []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			fromBucket := slices.ContainsFunc(pet.Labels[:], func(l pet.Label) bool { return path == "/"+string(l)+"/{picture}" })
			if method != "HEAD" && !fromBucket {
				got = append(got, method+" "+path)
			}
		}
	}
	slices.Sort(got)
	var want []string
	for _, pattern := range api.Routes() {
		want = append(want, strings.Replace(pattern, "{$}", "", 1))
	}
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("the document has %q\nthe code %q", got, want)
	}
	if labels := doc.Components.Schemas["Label"].Value.Enum; fmt.Sprint(labels) != fmt.Sprint(pet.Labels) {
		t.Errorf("the document knows the labels %v", labels)
	}
	// What a client may read of errors in README is what the document has.
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(readme), "### Errors")
	var inReadme, inDoc []int
	for _, row := range regexp.MustCompile(`(?m)^\| ([0-9, ]+) \|`).FindAllStringSubmatch(table, -1) {
		for _, text := range strings.Split(row[1], ", ") {
			n, _ := strconv.Atoi(text)
			inReadme = append(inReadme, n)
		}
	}
	for _, status := range doc.Components.Schemas["Problem"].Value.Properties["status"].Value.Enum {
		if n := int(status.(float64)); n != 429 { // API Gateway's
			inDoc = append(inDoc, n)
		}
	}
	if slices.Sort(inReadme); !slices.Equal(inReadme, inDoc) {
		t.Errorf("README has the errors %v, the document %v", inReadme, inDoc)
	}
}

// exchange is a request of TestAnswersAreAsTheContractSays.
type exchange struct {
	method, path, query, as string
	header                  map[string]string
	body                    []byte
	status                  int
}

// Whatever is answered has a status, headers and a body that the document knows.
func TestAnswersAreAsTheContractSays(t *testing.T) {
	h := newHouse()
	doc := contract(t, h)
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	openapi3filter.RegisterBodyDecoder("application/problem+json", openapi3filter.JSONBodyDecoder)
	for _, binary := range []string{"image/jpeg", "image/png", "image/webp", "text/html"} {
		openapi3filter.RegisterBodyDecoder(binary, openapi3filter.FileBodyDecoder)
	}
	seen := map[string]bool{}
	try := func(e exchange) gateway.Answer {
		t.Helper()
		req, _ := http.NewRequest(e.method, "https://pets.example"+e.path+"?"+e.query, bytes.NewReader(e.body))
		route, params, err := router.FindRoute(req)
		if err != nil {
			t.Fatalf("%s %s: %v", e.method, e.path, err)
		}
		a := h.send(t, e, e.method+" "+route.Path)
		if a.Status != e.status {
			t.Errorf("%s %s?%s: %d %s, want %d", e.method, e.path, e.query, a.Status, a.Body, e.status)
		}
		in := &openapi3filter.ResponseValidationInput{
			RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
			Status:                 a.Status, Header: a.Header, Body: io.NopCloser(bytes.NewReader(a.Body)),
			Options: &openapi3filter.Options{IncludeResponseStatus: true},
		}
		if err := openapi3filter.ValidateResponse(t.Context(), in); err != nil {
			t.Errorf("%s %s?%s: %d: %v", e.method, e.path, e.query, a.Status, err)
		}
		seen[fmt.Sprintf("%s %s %d", e.method, route.Path, a.Status)] = true
		return a
	}
	jpg, large := phototest.JPEG(1, 8, 8), make([]byte, api.MaxInlineBytes+1)
	nothing := "/pets/cat/" + strings.Repeat("0", 31) + "1"
	try(exchange{"GET", "/random", "label=cat", "", nil, nil, 404})
	path := try(exchange{"POST", "/upload", "label=cat&weight=2.5", "dev", nil, jpg, 201}).Header.Get("Location")
	try(exchange{"POST", "/upload", "label=cat", "dev", nil, jpg, 200})
	try(exchange{"POST", "/upload", "label=cat", "dev", nil, phototest.PNG(2, 8, 8), 201})
	try(exchange{"POST", "/upload", "label=bird", "dev", nil, jpg, 400})
	try(exchange{"POST", "/upload", "label=cat", "", nil, jpg, 401})
	try(exchange{"POST", "/upload", "label=cat", "curator", nil, jpg, 403})
	try(exchange{"POST", "/upload", "label=cat", "dev", nil, large, 413})
	try(exchange{"POST", "/upload", "label=cat", "dev", nil, []byte("GIF89a"), 415})
	try(exchange{"POST", "/upload", "label=cat", "dev", nil, jpg[:len(jpg)/2], 422})
	for _, format := range []string{"json", "text", "image"} {
		try(exchange{"GET", "/random", "label=cat&format=" + format, "", nil, nil, 200})
	}
	try(exchange{"GET", "/random", "label=cat", "", nil, nil, 302})
	try(exchange{"GET", "/random", "label=CAT", "", nil, nil, 400})
	try(exchange{"OPTIONS", "/random", "", "", nil, nil, 204})
	tag := try(exchange{"GET", path, "", "", nil, nil, 200}).Header.Get("ETag")
	try(exchange{"GET", path, "", "", map[string]string{"If-None-Match": tag}, nil, 304})
	try(exchange{"GET", nothing, "", "", nil, nil, 404})
	try(exchange{"GET", "/pets", "label=cat&limit=1", "curator", nil, nil, 200})
	try(exchange{"GET", "/pets", "label=dog", "curator", nil, nil, 200})
	try(exchange{"GET", "/pets", "label=cat&limit=0", "curator", nil, nil, 400})
	try(exchange{"GET", "/pets", "label=cat", "", nil, nil, 401})
	try(exchange{"GET", "/pets", "label=cat", "uploader", nil, nil, 403})
	weight := []byte(`{"weight":7}`)
	try(exchange{"PATCH", path, "", "curator", map[string]string{"If-Match": tag}, weight, 200})
	try(exchange{"PATCH", path, "", "curator", map[string]string{"If-Match": tag}, weight, 412})
	try(exchange{"PATCH", path, "", "curator", nil, []byte(`{"weight":"7"}`), 400})
	try(exchange{"PATCH", path, "", "", nil, weight, 401})
	try(exchange{"PATCH", path, "", "uploader", nil, weight, 403})
	try(exchange{"PATCH", nothing, "", "curator", nil, weight, 404})
	try(exchange{"PATCH", path, "", "curator", nil, large, 413})
	ticket := try(exchange{"POST", "/uploads", "", "uploader", nil, []byte(`{"label":"cat","type":"image/jpeg","bytes":10}`), 201}).Header.Get("Location")
	try(exchange{"POST", "/uploads", "", "uploader", nil, []byte(`{}`), 400})
	try(exchange{"POST", "/uploads", "", "", nil, nil, 401})
	try(exchange{"POST", "/uploads", "", "curator", nil, nil, 403})
	try(exchange{"POST", "/uploads", "", "uploader", nil, []byte(`{"label":"cat","type":"image/jpeg","bytes":50000001}`), 413})
	try(exchange{"POST", "/uploads", "", "uploader", nil, []byte(`{"label":"cat","type":"image/gif","bytes":10}`), 415})
	try(exchange{"POST", ticket, "", "uploader", nil, nil, 409})
	try(exchange{"POST", ticket, "", "", nil, nil, 401})
	try(exchange{"POST", ticket, "", "curator", nil, nil, 403})
	try(exchange{"POST", "/uploads/" + strings.Repeat("z", 32) + "/complete", "", "uploader", nil, nil, 404})
	try(exchange{"DELETE", path, "", "curator", map[string]string{"If-Match": tag}, nil, 412})
	try(exchange{"DELETE", path, "block=1", "curator", nil, nil, 400})
	try(exchange{"DELETE", path, "", "", nil, nil, 401})
	try(exchange{"DELETE", path, "", "uploader", nil, nil, 403})
	try(exchange{"DELETE", nothing, "", "curator", nil, nil, 404})
	try(exchange{"DELETE", path, "", "curator", nil, nil, 200})
	try(exchange{"GET", path, "", "", nil, nil, 410})
	try(exchange{"PATCH", path, "", "curator", nil, weight, 410})
	try(exchange{"POST", "/upload", "label=dog", "dev", nil, jpg, 451})
	try(exchange{"DELETE", path, "block=false", "curator", nil, nil, 200})
	try(exchange{"POST", "/upload", "label=cat", "dev", nil, jpg, 409})
	for _, p := range []string{"/stats", "/healthz", "/openapi.yaml", "/robots.txt", "/"} {
		try(exchange{"GET", p, "", "", nil, nil, 200})
	}
	h.photos.Fail(blobtest.Outage, nil)
	h.store.Fail(blobtest.Outage, nil)
	for _, e := range []exchange{
		{"GET", "/random", "label=cat&format=json", "", nil, nil, 503}, {"POST", "/upload", "label=cat", "dev", nil, jpg, 503},
		{"GET", path, "", "", nil, nil, 503}, {"PATCH", path, "", "dev", nil, weight, 503}, {"DELETE", path, "", "dev", nil, nil, 503},
		{"GET", "/pets", "label=cat", "dev", nil, nil, 503}, {"POST", ticket, "", "dev", nil, nil, 503},
	} {
		try(e)
	}
	// Beside what needs an unforeseen fault, another's answer, or a file that was sent to the store, all of the document was met.
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			for status := range op.Responses.Map() {
				elsewhere := strings.HasSuffix(path, "/{picture}") || method == "HEAD" || status == "429" || status == "500" || strings.HasSuffix(path, "/complete") || status == "503"
				if !elsewhere && !seen[method+" "+path+" "+status] {
					t.Errorf("no request here was answered as the document says: %s %s %s", method, path, status)
				}
			}
		}
	}
}

// send is a request to the function whose it is.
func (h *house) send(t *testing.T, e exchange, route string) gateway.Answer {
	t.Helper()
	if e.path == "/random" {
		return h.draw(t, e.method, e.query)
	}
	header := http.Header{}
	if e.as != "" {
		header.Set("Authorization", "Bearer "+e.as)
	}
	for name, value := range e.header {
		header.Set(name, value)
	}
	r, err := h.pets(t.Context(), gateway.APIEvent(gateway.Request{
		Method: e.method, Path: e.path, Query: e.query, Body: e.body, Header: header, Trace: gateway.Trace{RequestID: "req-3", Route: route},
	}))
	if err != nil {
		t.Fatal(err)
	}
	a, err := gateway.APIAnswer(r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
