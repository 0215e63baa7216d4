package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"petpick/src/gateway"
)

// Every byte and name survives the way there and back, through the JSON that Lambda passes.
func TestRoundTrip(t *testing.T) {
	binary := make([]byte, 256)
	for i := range binary {
		binary[i] = byte(i)
	}
	type seen struct {
		method, path, query, host, body, header, cookie string
		trace                                           gateway.Trace
	}
	var got seen
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = seen{r.Method, r.URL.Path, r.URL.RawQuery, r.Host, string(body), r.Header.Get("X-Thing"), r.Header.Get("Cookie"), gateway.TraceOf(r.Context())}
		w.Header().Add("Vary", "A")
		w.Header().Add("Vary", "B")
		w.Header().Set("Content-Type", r.Header.Get("Accept"))
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(body)
	})
	for _, c := range []struct {
		name, path, rawPath, query, accept string
		body                               []byte
	}{
		{"binary", "/upload", "/upload", "label=cat&weight=1,2&label=x", "image/png", binary},
		{"text", "/a b/ü%41", "/a%20b/%C3%BC%2541", "q=%zz;&&=", "text/plain", []byte("grüße")},
		{"nothing", "/", "/", "", "", nil},
		{"json that is not", "/x", "/x", "", "application/json", []byte("\xFF\xFE")},
	} {
		req := gateway.Request{
			Method: "POST", Host: "api.example", IP: "192.0.2.7", Path: c.path, RawPath: c.rawPath, Query: c.query, Body: c.body,
			Header: http.Header{"X-Thing": {"one", "two"}, "Cookie": {"a=1; b=2"}, "Accept": {c.accept}, "Content-Type": {"application/octet-stream"}},
			Trace:  gateway.Trace{RequestID: "id-1"},
		}
		want := seen{"POST", c.path, c.query, "api.example", string(c.body), "one,two", "a=1; b=2", gateway.Trace{RequestID: "id-1"}}
		check := func(kind string, a gateway.Answer, err error) {
			t.Helper()
			if err != nil || a.Status != http.StatusTeapot || !bytes.Equal(a.Body, c.body) || a.Header.Get("Vary") != "A, B" {
				t.Errorf("%s, %s: answer %+v, %v", kind, c.name, a, err)
			}
			if got != want {
				t.Errorf("%s, %s:\n got %+v\nwant %+v", kind, c.name, got, want)
			}
		}
		t.Run(c.name, func(t *testing.T) {
			answer, err := gateway.ServeFunction(handler)(t.Context(), throughJSON[events.LambdaFunctionURLRequest](t, gateway.FunctionEvent(req)))
			if err != nil {
				t.Fatal(err)
			}
			a, err := gateway.FunctionAnswer(throughJSON[events.LambdaFunctionURLResponse](t, answer))
			check("function", a, err)
			req.Trace.Route, want.trace.Route = "POST /upload", "POST /upload"
			apiAnswer, err := gateway.ServeAPI(handler)(t.Context(), throughJSON[events.APIGatewayV2HTTPRequest](t, gateway.APIEvent(req)))
			if err != nil {
				t.Fatal(err)
			}
			a, err = gateway.APIAnswer(throughJSON[events.APIGatewayV2HTTPResponse](t, apiAnswer))
			check("api", a, err)
		})
	}
}

func throughJSON[T any](t *testing.T, v T) T {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out T
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// A body of a textual type arrives as text, and a picture in it is damaged: as on AWS.
func TestTextualBodiesAreDamaged(t *testing.T) {
	for contentType, textual := range map[string]bool{
		"text/plain": true, "Text/HTML; charset=utf-8": true, "application/json": true, "application/problem+json": true, "image/svg+xml": true,
		"image/jpeg": false, "multipart/form-data; boundary=x": false, "": false, "application/x-www-form-urlencoded": false,
	} {
		e := gateway.APIEvent(gateway.Request{Header: http.Header{"Content-Type": {contentType}}, Body: []byte{0xFF, 0xD8, 0xFF}})
		if e.IsBase64Encoded == textual {
			t.Errorf("%q: base64 %v", contentType, e.IsBase64Encoded)
		}
		if textual && e.Body != "\uFFFD" {
			t.Errorf("%q: body %q", contentType, e.Body)
		}
	}
}

// The example event of AWS's documentation of payload format 2.0, cut to what matters here.
const documented = `{
  "version": "2.0", "routeKey": "$default", "rawPath": "/my/path", "rawQueryString": "parameter1=value1&parameter1=value2&parameter2=value",
  "cookies": ["cookie1", "cookie2"], "headers": {"header1": "value1", "header2": "value1,value2"},
  "queryStringParameters": {"parameter1": "value1,value2", "parameter2": "value"},
  "requestContext": {"accountId": "123456789012", "apiId": "api-id", "domainName": "id.execute-api.us-east-1.amazonaws.com",
    "http": {"method": "POST", "path": "/my/path", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "agent"},
    "requestId": "id", "routeKey": "$default", "stage": "$default", "time": "12/Mar/2020:19:03:58 +0000", "timeEpoch": 1583348638390},
  "body": "SGVsbG8=", "isBase64Encoded": true }`

func TestDocumentedEvent(t *testing.T) {
	var e events.APIGatewayV2HTTPRequest
	if err := json.Unmarshal([]byte(documented), &e); err != nil {
		t.Fatal(err)
	}
	_, err := gateway.ServeAPI(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != "POST" || r.URL.Path != "/my/path" || len(r.URL.Query()["parameter1"]) != 2 || string(body) != "Hello" ||
			r.Header.Get("Header2") != "value1,value2" || r.ContentLength != 5 || gateway.TraceOf(r.Context()) != (gateway.Trace{RequestID: "id", Route: "$default"}) {
			t.Errorf("got %s %s %q %v %d", r.Method, r.URL, body, r.Header, r.ContentLength)
		}
	}))(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
}

// The events' query is what url.ParseQuery reads, with what is repeated joined.
func TestQueriesOfEvents(t *testing.T) {
	for _, raw := range []string{
		"", "a", "a=", "=a", "a=1&a=2&b=3&a=4", "&&a=1&", "a=%zz&b=1", "%zz=a&b=1", "a;b=1&c=2", "a=1;2&c=3", "a=%3B", "a+b=c+d&%61=2&a=3", "a==b", "a=%2C,&a=,",
	} {
		want, _ := url.ParseQuery(raw)
		got := gateway.FunctionEvent(gateway.Request{Query: raw, Header: http.Header{}}).QueryStringParameters
		if len(got) != len(want) {
			t.Errorf("%q: got %q, want %q", raw, got, want)
		}
		for name, values := range want {
			if got[name] != strings.Join(values, ",") {
				t.Errorf("%q: %q is %q, want %q", raw, name, got[name], values)
			}
		}
	}
}

// A handler that heeds its context ends before the service would end it.
func TestHandlersEndBeforeTheService(t *testing.T) {
	deadline := time.Now().Add(20 * time.Second)
	ctx, cancel := context.WithDeadline(t.Context(), deadline)
	defer cancel()
	var left time.Duration
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if d, ok := r.Context().Deadline(); ok {
			left = deadline.Sub(d)
		}
	})
	if _, err := gateway.ServeAPI(h)(ctx, events.APIGatewayV2HTTPRequest{}); err != nil || left < 900*time.Millisecond || left > time.Second {
		t.Errorf("the handler's time ends %v before the service's (%v), want 1 s", left, err)
	}
	left = 0
	if _, err := gateway.ServeFunction(h)(t.Context(), events.LambdaFunctionURLRequest{}); err != nil || left != 0 {
		t.Errorf("without a deadline: %v, %v", left, err)
	}
}
