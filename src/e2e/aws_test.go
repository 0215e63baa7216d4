package e2e_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"petpick/infra"
)

// cloud is AWS as one function meets it: S3 (a real server behind a proxy), SSM and CloudFront, each asked whether the function's role permits
// the call. What the function does is recorded.
type cloud struct {
	t          *testing.T
	url        string
	policy     infra.Policy
	parameters map[string]string
	s3         http.Handler

	mu     sync.Mutex
	calls  map[call]bool
	denied []call
	old    map[string]bool // paths of objects of which a deleted version is left: the embedded server keeps none
	// meet sees each call before it happens: it may hold it up, and a status other than 0 is its answer.
	meet func(c call, r *http.Request) (status int)
}

const distribution = "arn:aws:cloudfront::000000000000:distribution/E2EDISTRIBUTION"

func newCloud(t *testing.T, s3 string, policy infra.Policy, parameters map[string]string) *cloud {
	t.Helper()
	target, err := url.Parse(s3)
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{t: t, policy: policy, parameters: parameters, calls: map[call]bool{}, old: map[string]bool{}}
	c.s3 = &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.Host = p.In.Host // it is signed
		},
		Transport: &http.Transport{DisableCompression: true},
		// A key that is not there: without ListBucket S3 does not say so.
		ModifyResponse: func(resp *http.Response) error {
			bucket, key := split(resp.Request.URL.Path)
			if resp.StatusCode != http.StatusNotFound || key == "" || c.ask(call{"s3:ListBucket", "arn:aws:s3:::" + bucket}) {
				return nil
			}
			resp.StatusCode, resp.Body, resp.ContentLength = http.StatusForbidden, io.NopCloser(strings.NewReader("")), 0
			resp.Header.Set("Content-Length", "0")
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// ask records a call and says whether the role permits it.
func (c *cloud) ask(it call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.policy.Allows(it.action, it.resource) {
		c.denied = append(c.denied, it)
		return false
	}
	c.calls[it] = true
	return true
}

func (c *cloud) on(meet func(call, *http.Request) int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.meet = meet
}

func (c *cloud) serve(w http.ResponseWriter, r *http.Request) {
	if operation, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "AmazonSSM."); ok {
		c.ssm(w, r, operation)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/2020-05-31/") {
		c.cloudfront(w, r)
		return
	}
	calls, err := s3Calls(r)
	if err != nil {
		c.t.Errorf("a call of S3 that is not understood here: %v", err)
		w.WriteHeader(http.StatusNotImplemented)
		return
	}
	for _, it := range calls {
		if status := c.passes(it, r); status != 0 {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(status)
			fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", map[int]string{403: "AccessDenied", 503: "ServiceUnavailable"}[status])
			return
		}
	}
	if !c.version(w, r) {
		c.s3.ServeHTTP(w, r)
	}
}

// version does what a bucket with versions does, as far as a purge needs it.
func (c *cloud) version(w http.ResponseWriter, r *http.Request) (served bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	query := r.URL.Query()
	switch {
	case r.Method == "GET" && query.Has("versions"):
		w.Header().Set("Content-Type", "application/xml")
		fmt.Fprint(w, `<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>`)
		if path := r.URL.Path + "/" + query.Get("prefix"); c.old[strings.ReplaceAll(path, "//", "/")] {
			fmt.Fprintf(w, "<Version><Key>%s</Key><VersionId>v1</VersionId></Version>", query.Get("prefix"))
		}
		fmt.Fprint(w, "</ListVersionsResult>")
	case r.Method == "DELETE" && query.Has("versionId"):
		delete(c.old, r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	default:
		if r.Method == "DELETE" {
			c.old[r.URL.Path] = true
		}
		return false
	}
	return true
}

// passes returns 0 for a call that may happen.
func (c *cloud) passes(it call, r *http.Request) int {
	c.mu.Lock()
	meet := c.meet
	c.mu.Unlock()
	if !c.ask(it) {
		return http.StatusForbidden
	}
	if meet != nil {
		return meet(it, r)
	}
	return 0
}

func split(path string) (bucket, key string) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return bucket, key
}

// s3Calls is what a request asks of IAM.
func s3Calls(r *http.Request) ([]call, error) {
	bucket, key := split(r.URL.Path)
	arn := "arn:aws:s3:::" + bucket
	query := r.URL.Query()
	version := ""
	if query.Has("versionId") {
		version = "Version"
	}
	switch {
	case key == "" && r.Method == "GET" && query.Get("list-type") == "2":
		return []call{{"s3:ListBucket", arn}}, nil
	case key == "" && r.Method == "GET" && query.Has("versions"):
		return []call{{"s3:ListBucketVersions", arn}}, nil
	case key == "" && r.Method == "POST" && query.Has("delete"):
		body, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		var in struct {
			Object []struct{ Key, VersionID string }
		}
		if err == nil {
			err = xml.Unmarshal(body, &in)
		}
		var calls []call
		for _, o := range in.Object {
			calls = append(calls, call{"s3:DeleteObject", arn + "/" + o.Key})
		}
		return calls, err
	case key != "" && (r.Method == "GET" || r.Method == "HEAD"):
		return []call{{"s3:GetObject" + version, arn + "/" + key}}, nil
	case key != "" && r.Method == "PUT" && r.Header.Get("X-Amz-Copy-Source") == "":
		calls := []call{{"s3:PutObject", arn + "/" + key}}
		if r.Header.Get("If-Match") != "" { // S3 wants the right to read for that
			calls = append(calls, call{"s3:GetObject", arn + "/" + key})
		}
		return calls, nil
	case key != "" && r.Method == "DELETE":
		return []call{{"s3:DeleteObject" + version, arn + "/" + key}}, nil
	}
	return nil, fmt.Errorf("%s %s", r.Method, r.URL)
}

func (c *cloud) ssm(w http.ResponseWriter, r *http.Request, operation string) {
	var in struct{ Name, Path string }
	err := json.NewDecoder(r.Body).Decode(&in)
	answer := func(status int, v any) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	it := call{"ssm:" + operation, "arn:aws:ssm:us-east-1:000000000000:parameter" + in.Name + in.Path}
	switch status := c.passes(it, r); {
	case err != nil:
		answer(http.StatusBadRequest, map[string]string{"__type": "SerializationException"})
	case status == http.StatusForbidden:
		answer(http.StatusBadRequest, map[string]string{"__type": "AccessDeniedException"})
	case status != 0:
		answer(status, map[string]string{"__type": "InternalServerError"})
	case operation == "GetParametersByPath":
		list := []map[string]string{}
		for name, value := range c.parameters {
			if strings.HasPrefix(name, strings.TrimSuffix(in.Path, "/")+"/") {
				list = append(list, map[string]string{"Name": name, "Type": "String", "Value": value})
			}
		}
		answer(http.StatusOK, map[string]any{"Parameters": list})
	case operation == "GetParameter" && c.parameters[in.Name] != "":
		answer(http.StatusOK, map[string]any{"Parameter": map[string]string{"Name": in.Name, "Type": "String", "Value": c.parameters[in.Name]}})
	default:
		answer(http.StatusBadRequest, map[string]string{"__type": "ParameterNotFound"})
	}
}

func (c *cloud) cloudfront(w http.ResponseWriter, r *http.Request) {
	id, ok := strings.CutPrefix(r.URL.Path, "/2020-05-31/distribution/")
	id, what, _ := strings.Cut(id, "/")
	if !ok || what != "invalidation" || r.Method != "POST" {
		c.t.Errorf("a call of CloudFront that is not understood here: %s %s", r.Method, r.URL)
	}
	w.Header().Set("Content-Type", "text/xml")
	it := call{"cloudfront:CreateInvalidation", strings.TrimSuffix(distribution, "E2EDISTRIBUTION") + id}
	if status := c.passes(it, r); status != 0 {
		w.WriteHeader(status)
		fmt.Fprint(w, "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>")
		return
	}
	w.WriteHeader(http.StatusCreated)
	fmt.Fprint(w, `<Invalidation xmlns="http://cloudfront.amazonaws.com/doc/2020-05-31/"><Id>I1</Id><Status>InProgress</Status></Invalidation>`)
}
