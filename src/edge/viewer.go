package edge

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/dop251/goja"

	"petpick/src/gateway"
)

// viewerFunction is a CloudFront Function at the viewer request. Its code runs in a JavaScript interpreter of its own.
type viewerFunction struct {
	program *goja.Program
	idle    sync.Pool // *goja.Runtime: an interpreter serves one request at a time
}

func newViewerFunction(name, code string) (*viewerFunction, error) {
	program, err := goja.Compile(name, code, false)
	if err != nil {
		return nil, err
	}
	return &viewerFunction{program: program}, nil
}

// run returns the function's answer, or nil when the request goes on.
func (f *viewerFunction) run(r *http.Request, id string) (*gateway.Answer, error) {
	vm, _ := f.idle.Get().(*goja.Runtime)
	if vm == nil {
		vm = goja.New()
		if _, err := vm.RunProgram(f.program); err != nil {
			return nil, err
		}
	}
	defer f.idle.Put(vm)
	handler, ok := goja.AssertFunction(vm.Get("handler"))
	if !ok {
		return nil, fmt.Errorf("the code has no function handler")
	}
	ip, _, _ := net.SplitHostPort(r.RemoteAddr)
	headers := map[string]any{}
	for name, values := range r.Header {
		headers[strings.ToLower(name)] = map[string]any{"value": strings.Join(values, ",")}
	}
	if r.ContentLength >= 0 && r.Header.Get("Content-Length") == "" && len(r.TransferEncoding) == 0 {
		headers["content-length"] = map[string]any{"value": fmt.Sprint(r.ContentLength)}
	}
	result, err := handler(goja.Undefined(), vm.ToValue(map[string]any{
		"version": "1.0",
		"context": map[string]any{"requestId": id, "eventType": "viewer-request"},
		"viewer":  map[string]any{"ip": ip},
		"request": map[string]any{"method": r.Method, "uri": r.URL.EscapedPath(), "querystring": map[string]any{}, "headers": headers},
	}))
	if err != nil {
		return nil, err
	}
	out, _ := result.Export().(map[string]any)
	if _, isResponse := out["statusCode"]; !isResponse {
		return nil, nil // a request goes on as it came: no function here rewrites one
	}
	var response struct {
		StatusCode int
		Headers    map[string]struct{ Value string }
		Body       struct{ Data string }
	}
	if err := convert(out, &response); err != nil {
		return nil, err
	}
	a := &gateway.Answer{Status: response.StatusCode, Header: http.Header{}, Body: []byte(response.Body.Data)}
	for name, h := range response.Headers {
		a.Header.Set(name, h.Value)
	}
	return a, nil
}
