package main

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"petpick/src/access"
	"petpick/src/access/ssmtest"
	"petpick/src/gateway"
)

// setenv is the function's environment, with SSM at an emulator and S3 nowhere.
func setenv(t *testing.T, ssm string, more ...string) {
	t.Helper()
	env := append([]string{
		"AWS_REGION", "us-east-1", "AWS_ACCESS_KEY_ID", "a", "AWS_SECRET_ACCESS_KEY", "b", "AWS_ENDPOINT_URL_SSM", ssm, "AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1",
		"PETPICK_STAGE", "dev", "PETPICK_PHOTOS_BUCKET", "p", "PETPICK_INDEX_BUCKET", "i", "PETPICK_PUBLIC_URL_PARAMETER", "/u", "PETPICK_DISTRIBUTION_PARAMETER", "/d",
		"PETPICK_TOKENS_PATH", "/petpick/dev/tokens", "PETPICK_OPEN_UPLOADS", "",
	}, more...)
	for i := 0; i < len(env); i += 2 {
		t.Setenv(env[i], env[i+1])
	}
}

func issue(t *testing.T, ssm *ssmtest.Server, scopes ...access.Scope) string {
	t.Helper()
	tok, text, err := access.New("x", scopes, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	data, err := tok.Encode()
	if err != nil {
		t.Fatal(err)
	}
	ssm.Set("/petpick/dev/tokens/"+tok.ID, string(data))
	return text
}

// The function as it is deployed asks SSM for the tokens below its path, once, and no request that is refused gets to the store.
func TestTokensOfSSM(t *testing.T) {
	ssm := ssmtest.Start(t)
	setenv(t, ssm.URL)
	up, cur := issue(t, ssm, access.Upload), issue(t, ssm, access.Curate)
	var log bytes.Buffer
	handler, err := build(t.Context(), slog.New(slog.NewJSONHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	upload := func(authorization string) int {
		t.Helper()
		r, err := handler(t.Context(), gateway.APIEvent(gateway.Request{
			Method: "POST", Path: "/upload", Query: "label=cat", Body: []byte("not a picture"), Header: http.Header{"Authorization": {authorization}},
			Trace: gateway.Trace{RequestID: "r", Route: "POST /upload"},
		}))
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode
	}
	for range 3 {
		for authorization, status := range map[string]int{"": 401, "Bearer dev": 401, "Bearer " + up: 415, "Bearer " + cur: 403} {
			if got := upload(authorization); got != status {
				t.Errorf("got %d, want %d", got, status)
			}
		}
	}
	if got := ssm.Calls("GetParametersByPath"); got != 1 {
		t.Errorf("%d listings, want 1", got)
	}
	if strings.Contains(log.String(), up[20:]) || strings.Contains(log.String(), cur[20:]) {
		t.Errorf("a token is in the log: %s", log.String())
	}
	// A new environment while SSM throttles: closed, and said to be for a moment.
	ssm.Hook(func(string) (string, bool) { return "ThrottlingException", false })
	if handler, err = build(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if got := upload("Bearer " + up); got != 503 {
		t.Errorf("while SSM throttles: %d", got)
	}
}

func TestOpenUploadsAreSaid(t *testing.T) {
	setenv(t, "http://127.0.0.1:1", "PETPICK_OPEN_UPLOADS", "true")
	var log bytes.Buffer
	if _, err := build(t.Context(), slog.New(slog.NewJSONHandler(&log, nil))); err != nil || !strings.Contains(log.String(), `"level":"WARN","msg":"uploads are open to everyone`) {
		t.Errorf("%v: %s", err, log.String())
	}
	log.Reset()
	setenv(t, "http://127.0.0.1:1", "PETPICK_OPEN_UPLOADS", "false")
	if _, err := build(t.Context(), slog.New(slog.NewJSONHandler(&log, nil))); err != nil || log.Len() > 0 {
		t.Errorf("%v: %s", err, log.String())
	}
	setenv(t, "http://127.0.0.1:1", "PETPICK_TOKENS_PATH", "")
	if _, err := build(t.Context(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("it starts without a path for its tokens")
	}
}
