package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"petpick/infra"
	"petpick/src/access"
	"petpick/src/access/ssmtest"
	"petpick/src/api"
	"petpick/src/blob"
	"petpick/src/gateway"
	"petpick/src/index"
	"petpick/src/photo"
	"petpick/src/photo/phototest"
)

// petpick runs a command in this process.
func petpick(args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = run(context.Background(), args, &out, &err)
	return status, out.String(), err.String()
}

func issue(t *testing.T, data, name, scopes string) string {
	t.Helper()
	status, out, stderr := petpick("token", "create", "--name", name, "--scope", scopes, "--data", data)
	if status != 0 || strings.Count(out, "\n") != 1 || strings.Contains(stderr, strings.TrimSpace(out)) {
		t.Fatalf("token create: %d %q %q", status, out, stderr)
	}
	return strings.TrimSpace(out)
}

func idOf(token string) string { return strings.Split(token, "_")[1] }

// who may use each route, and a request that comes to `passed` when it is let through; no scope is anyone.
var routes = map[string]struct {
	path, query, body string
	scope             access.Scope
	passed            int
}{
	"POST /upload":                    {"/upload", "label=cat", "not a picture", access.Upload, 415},
	"POST /uploads":                   {"/uploads", "", "{}", access.Upload, 400},
	"POST /uploads/{ticket}/complete": {"/uploads/" + strings.Repeat("0", 32) + "/complete", "", "", access.Upload, 409},
	"GET /pets":                       {"/pets", "label=cat", "", access.Curate, 200},
	"PATCH /pets/{label}/{id}":        {"/pets/cat/" + nobody, "", "not JSON", access.Curate, 400},
	"DELETE /pets/{label}/{id}":       {"/pets/cat/" + nobody, "block=perhaps", "", access.Curate, 400},
	"GET /pets/{label}/{id}":          {"/pets/cat/" + nobody, "", "", "", 404},
	"GET /stats":                      {"/stats", "", "", "", 200},
	"GET /healthz":                    {"/healthz", "", "", "", 200},
	"GET /openapi.yaml":               {"/openapi.yaml", "", "", "", 200},
	"GET /robots.txt":                 {"/robots.txt", "", "", "", 200},
	"GET /":                           {"/", "", "", "", 200},
	"$default":                        {"/nothing", "", "", "", 404},
	"GET /random":                     {"/random", "label=cat", "", "", 404},
	"GET /cat/*":                      {"/cat/" + nobody + ".jpg", "", "", "", 403},
}

const nobody = "00000000000000000000000000000001"

// routeKeys are the template's routes, and those of the distribution that lead past the API.
func routeKeys(t *testing.T) []string {
	t.Helper()
	keys := []string{"GET /random", "GET /cat/*"}
	for _, m := range regexp.MustCompile(`RouteKey: (.+)`).FindAllStringSubmatch(string(infra.Template), -1) {
		keys = append(keys, strings.TrimSpace(m[1]))
	}
	if len(keys) < 12 {
		t.Fatalf("%d routes: the test tests nothing", len(keys))
	}
	return keys
}

// inEvents calls the functions by events, over stores in memory, with the tokens of the data folder. What is no function's is not called.
func inEvents(t *testing.T, data string) func(key, method, path, query, body, authorization string) (reply, bool) {
	photos, store := blob.NewMemory(nil), blob.NewMemory(nil)
	common := api.Common{
		Indexes:   index.OpenAll(index.Config{Photos: photos, Index: store}),
		PublicURL: func(context.Context) (string, error) { return "https://pets.example", nil },
		Trace:     gateway.TraceOf, Log: slog.New(slog.DiscardHandler),
	}
	pets := gateway.ServeAPI(api.NewPets(api.Pets{
		Common: common, Photos: photo.NewInspector(), Access: access.NewKeyring(access.Config{Store: localTokens(data)}), Incoming: api.Incoming{Store: store},
	}))
	random := gateway.ServeFunction(api.NewRandom(api.Random{Common: common, Photos: photos}))
	return func(key, method, path, query, body, authorization string) (reply, bool) {
		header := http.Header{}
		if authorization != "" {
			header.Set("Authorization", authorization)
		}
		r := gateway.Request{Method: method, Path: path, RawPath: path, Query: query, Body: []byte(body), Header: header, Trace: gateway.Trace{RequestID: "r", Route: key}}
		var a gateway.Answer
		switch key {
		case "GET /cat/*":
			return reply{}, false
		case "GET /random":
			answer, err := random(t.Context(), gateway.FunctionEvent(r))
			if err != nil {
				t.Fatal(err)
			}
			if a, err = gateway.FunctionAnswer(answer); err != nil {
				t.Fatal(err)
			}
		default:
			answer, err := pets(t.Context(), gateway.APIEvent(r))
			if err != nil {
				t.Fatal(err)
			}
			if a, err = gateway.APIAnswer(answer); err != nil {
				t.Fatal(err)
			}
		}
		return reply{a.Status, a.Header, a.Body}, true
	}
}

// Every route by every kind of token, as events and over HTTP; and none of the tokens is anywhere afterwards.
func TestWhoMayDoWhat(t *testing.T) {
	data := t.TempDir()
	s := start(t, data, "--log-level", "debug")
	up, cur, both, gone := issue(t, data, "an uploader", "upload"), issue(t, data, "a curator", "curate"), issue(t, data, "both", "curate,upload"), issue(t, data, "gone", "upload,curate")
	old, expired, err := access.New("old", access.Scopes, time.Hour, time.Now().Add(-2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := localTokens(data).Create(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	s.changeBoth(t, up, cur)
	s.revokeInUse(t, data, gone)
	mistyped := strings.Replace(up, up[40:42], "zz", 1)
	if up[40:42] == "zz" {
		mistyped = strings.Replace(up, "zz", "yy", 1)
	}
	type credential struct {
		name, authorization string
		known               bool // a token that is good
		scopes              []access.Scope
	}
	credentials := []credential{
		{"no token", "", false, nil}, {"basic", "Basic ZGV2OmRldg==", false, nil}, {"garbage", "Bearer garbage", false, nil}, {"mistyped", "Bearer " + mistyped, false, nil},
		{"expired", "Bearer " + expired, false, nil}, {"revoked", "Bearer " + gone, false, nil}, {"two", "Bearer " + up + ", Bearer " + cur, false, nil}, {"naked", both, false, nil},
		{"upload", "Bearer " + up, true, []access.Scope{access.Upload}}, {"curate", "Bearer " + cur, true, []access.Scope{access.Curate}},
		{"both", "Bearer " + both, true, access.Scopes},
	}
	events := inEvents(t, data)
	overHTTP := func(_, method, path, query, body, authorization string) (reply, bool) {
		r, err := s.do(method, path+"?"+query, map[string]string{"Authorization": authorization}, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return r, true
	}
	for _, key := range routeKeys(t) {
		row, ok := routes[key]
		if !ok {
			t.Errorf("nobody has said who may use %s", key)
			continue
		}
		method, _, isRoute := strings.Cut(key, " ")
		if !isRoute {
			method = "GET"
		}
		for _, c := range credentials {
			want := row.passed
			switch {
			case row.scope == "" || strings.Contains(fmt.Sprint(c.scopes), string(row.scope)):
			case c.known:
				want = 403
			default:
				want = 401
			}
			for way, call := range map[string]func(key, method, path, query, body, authorization string) (reply, bool){"as an event": events, "over HTTP": overHTTP} {
				r, called := call(key, method, row.path, row.query, row.body, c.authorization)
				if !called {
					continue
				}
				if r.status != want {
					t.Errorf("%s with %s, %s: got %d %.200s, want %d", key, c.name, way, r.status, r.body, want)
				}
				if challenge := r.header.Get("WWW-Authenticate"); (want == 401) != (r.status == 401 && strings.HasPrefix(challenge, "Bearer ")) ||
					want == 403 && row.scope != "" && !strings.Contains(string(r.body), string(row.scope)) {
					t.Errorf("%s with %s, %s: %q %s", key, c.name, way, challenge, r.body)
				}
			}
		}
	}
	s.wantSecret(t, data, up, cur, both, gone, mistyped, expired)
}

// changeBoth makes a change with each of two tokens: the log names them.
func (s *server) changeBoth(t *testing.T, up, cur string) {
	t.Helper()
	r, err := s.do("POST", "/upload?label=dog", map[string]string{"Authorization": "Bearer " + up}, bytes.NewReader(phototest.JPEG(1, 8, 8)))
	if err != nil || r.status != 201 {
		t.Fatalf("%d %s %v", r.status, r.body, err)
	}
	r, err = s.do("DELETE", "/pets/dog/"+decode[record](t, r.body).ID, map[string]string{"Authorization": "Bearer " + cur}, nil)
	if err != nil || r.status != 200 {
		t.Fatalf("%d %s %v", r.status, r.body, err)
	}
}

// revokeInUse revokes a token that the server knows, and waits for the server to have heard of it.
func (s *server) revokeInUse(t *testing.T, data, token string) {
	t.Helper()
	status := func() int {
		r, err := s.do("POST", "/uploads", map[string]string{"Authorization": "Bearer " + token}, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		return r.status
	}
	// Not without pause: the API's throttling would answer in their place.
	for deadline := time.Now().Add(10 * time.Second); status() != 400; time.Sleep(20 * time.Millisecond) { // a second, until it is known
		if time.Now().After(deadline) {
			t.Fatal("a new token is not known after 10 s")
		}
	}
	if status, out, stderr := petpick("token", "revoke", idOf(token), "--data", data, "--json"); status != 0 || out != fmt.Sprintf(`{"revoked":[%q]}`+"\n", idOf(token)) {
		t.Fatalf("revoke: %d %s %s", status, out, stderr)
	}
	for deadline := time.Now().Add(10 * time.Second); status() != 401; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a revoked token opens still after 10 s")
		}
	}
}

// wantSecret looks for the tokens in the arguments of every process there is, and in all that the server has logged.
func (s *server) wantSecret(t *testing.T, data string, tokens ...string) {
	t.Helper()
	var secrets []string
	for _, token := range tokens {
		secrets = append(secrets, strings.Split(token, "_")[2][:40])
	}
	s3, err := os.ReadFile(filepath.Join(data, "s3-secret"))
	if err != nil {
		t.Fatal(err)
	}
	secrets = append(secrets, string(s3))
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	own := 0
	for _, path := range processes {
		args, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		if path == fmt.Sprintf("/proc/%d/cmdline", s.cmd.Process.Pid) && bytes.Contains(args, []byte("serve")) {
			own++
		}
		for _, secret := range secrets {
			if bytes.Contains(args, []byte(secret)) {
				t.Errorf("%s has a secret: %q", path, args)
			}
		}
	}
	if len(processes) > 0 && own != 1 {
		t.Error("the server's own arguments were not seen: the test tests nothing")
	}
	s.kill() // a function logs before it answers
	log := s.log.String()
	for _, secret := range secrets {
		if strings.Contains(log, secret) {
			t.Errorf("the log has a secret: %s", secret)
		}
	}
	// What it must have: who did what, and why who was refused.
	for _, part := range []string{
		`by="` + idOf(tokens[0]) + ` an uploader"`, `by="` + idOf(tokens[1]) + ` a curator"`, idOf(tokens[3]) + " is revoked, or was never issued", "it is malformed", "has expired at", `lacks the scope`,
	} {
		if !strings.Contains(strings.ReplaceAll(log, `\"`, `"`), part) {
			t.Errorf("the log lacks %q", part)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
}

// Uploads that are open are so by --open alone, and say so where people look.
func TestServeOpen(t *testing.T) {
	s := start(t, t.TempDir(), "--open")
	r, err := s.do("POST", "/upload?label=cat", nil, bytes.NewReader(phototest.JPEG(1, 8, 8)))
	if err != nil || r.status != 201 {
		t.Fatalf("without a token: %d %s %v", r.status, r.body, err)
	}
	if d, err := s.do("DELETE", "/pets/cat/"+decode[record](t, r.body).ID, nil, nil); err != nil || d.status != 401 {
		t.Errorf("DELETE without a token: %d %s %v", d.status, d.body, err)
	}
	if h := s.get(t, "/healthz"); !strings.Contains(string(h.body), `"uploads":"open"`) {
		t.Errorf("healthz: %s", h.body)
	}
	s.kill() // a function logs before it answers
	if !strings.Contains(s.log.String(), "uploads are open to everyone") || !strings.Contains(s.banner, "OPEN") {
		t.Errorf("it is not said: %s%s", s.banner, s.log)
	}
}

// aws is the environment of an operator: SSM at an emulator.
func awsEnv(t *testing.T, ssm string, more ...string) {
	t.Helper()
	env := append([]string{
		"AWS_REGION", "us-east-1", "AWS_ACCESS_KEY_ID", "a", "AWS_SECRET_ACCESS_KEY", "b", "AWS_ENDPOINT_URL_SSM", ssm, "AWS_CONFIG_FILE", "/nowhere", "AWS_SHARED_CREDENTIALS_FILE", "/nowhere",
	}, more...)
	for i := 0; i < len(env); i += 2 {
		t.Setenv(env[i], env[i+1])
	}
}

func deployed(ssm *ssmtest.Server, stage, photos, index string) {
	ssm.Set("/petpick/"+stage+"/stack", fmt.Sprintf(`{"stage":%q,"region":"us-east-1","url":"https://d.example","api_url":"https://a.example","photos_bucket":%q,"index_bucket":%q,"distribution":"E1","tokens_path":"/petpick/%s/tokens"}`,
		stage, photos, index, stage))
}

// The same command on a folder and on a stack; people at once lose nothing.
func TestTokenCommand(t *testing.T) {
	ssm := ssmtest.Start(t)
	deployed(ssm, "test", "p", "i")
	awsEnv(t, ssm.URL)
	for name, where := range map[string][]string{"folder": {"--data", filepath.Join(t.TempDir(), "new")}, "stack": {"--stage", "test"}} {
		t.Run(name, func(t *testing.T) {
			at := func(args ...string) []string { return append(append([]string{"token"}, args...), where...) }
			type line struct {
				ID, Name, Token string
				Scopes          []string
				Created         time.Time `json:"created_at"`
				Expires         time.Time `json:"expires_at"`
				Expired         bool
			}
			if status, out, stderr := petpick(at("list", "--json")...); status != 0 || out != "[]\n" || stderr != "" {
				t.Errorf("at first: %d %q %q", status, out, stderr)
			}
			var people sync.WaitGroup
			for i := range 20 {
				people.Go(func() {
					if status, out, stderr := petpick(at("create", "--name", fmt.Sprint("person ", i), "--scope", "upload")...); status != 0 || len(out) != 73 {
						t.Errorf("%d %q %q", status, out, stderr)
					}
				})
			}
			people.Wait()
			status, out, stderr := petpick(at("create", "--name", "ann", "--scope", "upload, curate", "--expires", "12h", "--json")...)
			var made line
			if err := json.Unmarshal([]byte(out), &made); err != nil || status != 0 || made.Name != "ann" || len(made.Scopes) != 2 || made.Expires.Sub(made.Created) != 12*time.Hour || len(made.Token) != 72 ||
				!strings.Contains(stderr, "not shown again") {
				t.Errorf("create --json: %d %s %s", status, out, stderr)
			}
			_, out, _ = petpick(at("list", "--json")...)
			var lines []line
			if err := json.Unmarshal([]byte(out), &lines); err != nil || len(lines) != 21 || strings.Contains(out, made.Token) || strings.Contains(out, "sha256") {
				t.Errorf("%d of 21 tokens: %v %s", len(lines), err, out)
			}
			if _, table, _ := petpick(at("list")...); strings.Count(table, "\n") != 22 || !strings.Contains(table, made.ID+"  ann") || strings.Contains(table, made.Token[20:]) {
				t.Errorf("list: %s", table)
			}
			if status, out, stderr := petpick(at("revoke", made.ID, lines[0].ID)...); status != 0 || out != "" || !strings.Contains(stderr, made.ID+" is revoked") {
				t.Errorf("revoke: %d %q %q", status, out, stderr)
			}
			for what, args := range map[string][]string{
				"no such token": {"revoke", made.ID}, "the id, not the token": {"revoke", made.Token}, "at least 1 arg": {"revoke"},
				`"uplod" is not a scope`: {"create", "--name", "x", "--scope", "uplod"}, "printable": {"create", "--name", "a\nb", "--scope", "upload"},
				`"name" not set`: {"create", "--scope", "upload"}, `"scope" not set`: {"create", "--name", "x"}, "--expires": {"create", "--name", "x", "--scope", "upload", "--expires", "-3d"},
				"unknown flag": {"create", "--secret", "x"},
			} {
				if status, out, stderr := petpick(at(args...)...); status != 1 || out != "" || !strings.Contains(stderr, what) {
					t.Errorf("%q: %d %q %q, want %q", args, status, out, stderr, what)
				}
			}
			if _, out, _ := petpick(at("list", "--json")...); strings.Count(out, `"id"`) != 19 {
				t.Errorf("afterwards: %s", out)
			}
		})
	}
	for what, args := range map[string][]string{
		"there is no such deployment": {"token", "list", "--stage", "nowhere"}, "cannot be the name": {"token", "list", "--stage", "../test"}, "none of the others": {"token", "list", "--stage", "test", "--data", "x"},
	} {
		if status, _, stderr := petpick(args...); status != 1 || !strings.Contains(stderr, what) {
			t.Errorf("%q: %d %q, want %q", args, status, stderr, what)
		}
	}
}

// A revocation whose answer is lost was done, and is reported as done.
func TestRevocationWithALostAnswer(t *testing.T) {
	ssm := ssmtest.Start(t)
	deployed(ssm, "test", "p", "i")
	awsEnv(t, ssm.URL)
	_, token, _ := petpick("token", "create", "--name", "x", "--scope", "upload", "--stage", "test")
	lost := false
	ssm.Hook(func(op string) (string, bool) { // under the server's lock
		if op == "DeleteParameter" && !lost {
			lost = true
			return "", true
		}
		return "", false
	})
	if status, _, stderr := petpick("token", "revoke", idOf(token), "--stage", "test"); status != 0 || ssm.Calls("DeleteParameter") != 2 {
		t.Errorf("%d %s, %d calls", status, stderr, ssm.Calls("DeleteParameter"))
	}
	if _, out, _ := petpick("token", "list", "--json", "--stage", "test"); out != "[]\n" {
		t.Errorf("it is still there: %s", out)
	}
}

// --stage takes everything from the stack's parameter.
func TestStage(t *testing.T) {
	s := start(t, t.TempDir())
	s.upload(t, "cat", "1", phototest.JPEG(1, 8, 8))
	env := map[string]string{}
	fields := strings.Fields(s.banner)
	endpoint := ""
	for i, f := range fields {
		if k, v, ok := strings.Cut(f, "="); ok && strings.HasPrefix(k, "AWS_") {
			env[k] = v
		}
		if f == "--endpoint-url" {
			endpoint = fields[i+1]
		}
	}
	ssm := ssmtest.Start(t)
	deployed(ssm, "test", "petpick-photos", "petpick-index")
	deployed(ssm, "wrong", "petpick-nothing", "petpick-index")
	awsEnv(t, ssm.URL, "AWS_ENDPOINT_URL_S3", endpoint, "AWS_ACCESS_KEY_ID", env["AWS_ACCESS_KEY_ID"], "AWS_SECRET_ACCESS_KEY", env["AWS_SECRET_ACCESS_KEY"])
	for _, command := range []string{"tend", "fsck", "reindex"} {
		if status, out, stderr := petpick(command, "--stage", "test"); status != 0 || out != "" {
			t.Errorf("%s: %d %s %s", command, status, out, stderr)
		}
		if status, _, stderr := petpick(command, "--stage", "test", "--photos-bucket", "x"); status == 0 || !strings.Contains(stderr, "none of the others") {
			t.Errorf("%s with two places to look at: %d %s", command, status, stderr)
		}
	}
	if status, _, stderr := petpick("fsck", "--stage", "wrong"); status != 2 || !strings.Contains(stderr, "petpick-nothing") {
		t.Errorf("a bucket that is not there: %d %s", status, stderr)
	}
	if got := decode[stats](t, s.get(t, "/stats").body).Labels["cat"].Pictures; got != 1 {
		t.Errorf("%d pictures afterwards", got)
	}
}
