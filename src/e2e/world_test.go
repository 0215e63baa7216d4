package e2e_test

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"petpick/infra"
	"petpick/src/access"
	"petpick/src/blob/blobtest"
	"petpick/src/blob/s3blob"
	"petpick/src/blob/s3server"
	"petpick/src/edge"
	"petpick/src/index"
	"petpick/src/pet"
)

var bootstraps = flag.String("bootstraps", "", "folder with the functions' binaries, each FUNCTION/bootstrap; without it nothing is run")

//go:embed testdata/events
var events embed.FS

const (
	accessKey, secretKey = "AKIAE2E", "e2e-secret"
	region               = "us-east-1"
)

// server is the one S3 server that a process can have; each test has buckets of its own.
var (
	server *s3server.Server
	folder string
	worlds atomic.Int64
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if *bootstraps == "" {
		return m.Run()
	}
	var err error
	if folder, err = os.MkdirTemp("", "petpick-e2e"); err == nil {
		defer os.RemoveAll(folder)
		server, err = s3server.Start(context.Background(), s3server.Config{Dir: folder, Addr: "127.0.0.1:0", AccessKey: accessKey, SecretKey: secretKey})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = server.Stop() }()
	return m.Run()
}

// world is a deployment of the template.
type world struct {
	t             *testing.T
	photos, index string // buckets
	resources     map[string]edge.Resource
	names         map[string]string // of what the template makes
	direct        *s3.Client        // with every right, and unrecorded
}

// function is one of the deployment's functions, with what it sees of AWS.
type function struct {
	*cloud
	world    *world
	name     string
	settings edge.Settings
	extra    map[string]string // variables that only a test sets
	env      *environment
	token    string // one that the deployment knows, with every scope; empty for a function that knows none
}

func deploy(t *testing.T) *world {
	t.Helper()
	if *bootstraps == "" {
		t.Skip("needs the functions' binaries: make e2e")
	}
	n := worlds.Add(1)
	w := &world{t: t, photos: fmt.Sprintf("petpick-photos-%d", n), index: fmt.Sprintf("petpick-index-%d", n)}
	cfg := aws.Config{Region: region, Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, "")}
	w.direct = s3blob.Client(cfg, server.Endpoint)
	for _, bucket := range []string{w.photos, w.index} {
		if _, err := w.direct.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
			t.Fatal(err)
		}
	}
	w.names = map[string]string{
		"PhotosBucket": w.photos, "PhotosBucket.Arn": "arn:aws:s3:::" + w.photos, "IndexBucket": w.index, "IndexBucket.Arn": "arn:aws:s3:::" + w.index,
		"Distribution": "E2EDISTRIBUTION", "Distribution.DomainName": "d111111abcdef8.cloudfront.net",
	}
	var err error
	if w.resources, err = edge.Resources(infra.Template, map[string]any{"Stage": "e2e"}); err != nil {
		t.Fatal(err)
	}
	return w
}

// function prepares a function; the first invocation starts its environment.
func (w *world) function(name string) *function {
	w.t.Helper()
	id := strings.ToUpper(name[:1]) + name[1:] + "Function"
	settings, err := edge.SettingsOf(w.resources, id, w.names)
	if err != nil {
		w.t.Fatal(err)
	}
	policy, err := infra.Allowed(w.resources, id, w.names)
	if err != nil {
		w.t.Fatal(err)
	}
	f := &function{cloud: newCloud(w.t, server.Endpoint, policy, edge.ParametersOf(w.resources, w.names)), world: w, name: name, settings: settings}
	f.token = f.issue()
	return f
}

// issue puts a token of every scope into SSM, where the function's environment says that tokens are; of a function that knows none, no text.
func (f *function) issue() string {
	f.t.Helper()
	path := f.settings.Environment["PETPICK_TOKENS_PATH"]
	if path == "" {
		return ""
	}
	tok, text, err := access.New("e2e", access.Scopes, 0, time.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	data, err := tok.Encode()
	if err != nil {
		f.t.Fatal(err)
	}
	f.cloud.parameters[path+"/"+tok.ID] = string(data)
	return text
}

// variables are the environment: what the template says, and what Lambda adds.
func (f *function) variables() map[string]string {
	env := map[string]string{
		"_HANDLER": "bootstrap", "LAMBDA_TASK_ROOT": "/var/task", "LAMBDA_RUNTIME_DIR": "/var/runtime", "AWS_REGION": region, "AWS_DEFAULT_REGION": region,
		"AWS_ACCESS_KEY_ID": accessKey, "AWS_SECRET_ACCESS_KEY": secretKey, "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
		"AWS_LAMBDA_FUNCTION_NAME": "petpick-e2e-" + f.name, "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": fmt.Sprint(f.settings.MemorySize),
		"AWS_LAMBDA_LOG_GROUP_NAME": "/petpick/e2e/" + f.name, "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]0123456789abcdef",
		"AWS_ENDPOINT_URL_S3": f.url, "AWS_ENDPOINT_URL_SSM": f.url, "AWS_ENDPOINT_URL_CLOUDFRONT": f.url,
	}
	maps.Copy(env, f.settings.Environment)
	maps.Copy(env, f.extra)
	return env
}

// warm starts an environment, as an invocation does that finds none.
func (f *function) warm() *environment {
	f.t.Helper()
	if f.env != nil {
		select {
		case <-f.env.exited:
		default:
			return f.env
		}
	}
	f.env = launch(f.t, binary(f.name), f.variables())
	if _, err := f.env.init(); err != nil {
		f.t.Fatalf("%s: %v:\n%s", f.name, err, strings.Join(f.env.logs.take(), "\n"))
	}
	return f.env
}

func (f *function) cool() {
	if f.env != nil {
		_ = f.env.cmd.Process.Kill()
		<-f.env.exited
	}
}

func (f *function) timeout() time.Duration { return time.Duration(f.settings.Timeout) * time.Second }

// event is one of testdata/events, with changes.
func event(t *testing.T, name string, change func(e map[string]any)) []byte {
	t.Helper()
	b, err := events.ReadFile("testdata/events/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var e map[string]any
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(e)
	}
	if b, err = json.Marshal(e); err != nil {
		t.Fatal(err)
	}
	return b
}

// reply is a response of a function behind HTTP.
type reply struct {
	Status  int               `json:"statusCode"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Base64  bool              `json:"isBase64Encoded"`
}

func (r reply) bytes() []byte {
	if r.Base64 {
		b, _ := base64.StdEncoding.DecodeString(r.Body)
		return b
	}
	return []byte(r.Body)
}

func (f *function) reply(out outcome) reply {
	f.t.Helper()
	if out.Error != nil {
		f.t.Fatalf("%s: %+v", f.name, *out.Error)
	}
	var r reply
	if err := json.Unmarshal(out.Response, &r); err != nil || r.Status == 0 {
		f.t.Fatalf("%s answered %s: %v", f.name, out.Response, err)
	}
	return r
}

// urlEvent is a GET as the function URL passes it on.
func urlEvent(t *testing.T, query string) []byte {
	return event(t, "url", func(e map[string]any) {
		values, _ := url.ParseQuery(query)
		single := map[string]any{}
		for name := range values {
			single[name] = strings.Join(values[name], ",")
		}
		e["rawQueryString"], e["queryStringParameters"] = query, single
	})
}

func (f *function) draw(query string) reply {
	f.t.Helper()
	return f.reply(f.warm().invoke(urlEvent(f.t, query), f.timeout()))
}

// request is one as the HTTP API passes it on.
type request struct {
	method, path, route, query string
	header                     map[string]string
	body                       []byte
	params                     map[string]string
}

func (q request) event(t *testing.T) []byte {
	return event(t, "api", func(e map[string]any) {
		headers := e["headers"].(map[string]any)
		headers["content-length"] = fmt.Sprint(len(q.body))
		for name, value := range q.header {
			headers[name] = value
		}
		about := e["requestContext"].(map[string]any)
		about["http"].(map[string]any)["method"], about["http"].(map[string]any)["path"] = q.method, q.path
		e["rawPath"], e["rawQueryString"], e["routeKey"], about["routeKey"] = q.path, q.query, q.route, q.route
		if q.params != nil {
			e["pathParameters"] = q.params
		}
		if len(q.body) > 0 {
			// Text arrives as text, everything else in base64.
			e["body"], e["isBase64Encoded"] = base64.StdEncoding.EncodeToString(q.body), true
			if q.header["content-type"] == "application/json" {
				e["body"], e["isBase64Encoded"] = string(q.body), false
			}
		}
	})
}

func (f *function) ask(q request) reply {
	f.t.Helper()
	return f.reply(f.warm().invoke(q.event(f.t), f.timeout()))
}

// picture is one of any number of different ones.
func picture(t *testing.T, n int) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 8, 8))
	for i := range 64 {
		img.Set(i%8, i/8, color.RGBA{uint8(n), uint8(n >> 8), uint8(i), 255})
	}
	var b strings.Builder
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return []byte(b.String())
}

// indexes are the deployment's, by another process than its functions: for what tests find there.
func (w *world) indexes() index.All {
	return index.OpenAll(index.Config{Photos: s3blob.New(w.direct, w.photos), Index: s3blob.New(w.direct, w.index)})
}

// seed adds pictures from n on, and returns their ids.
func (w *world) seed(label pet.Label, from, to int) (ids []pet.ID) {
	w.t.Helper()
	idx := w.indexes()[label]
	for i := from; i < to; i++ {
		body := picture(w.t, i)
		p := index.Photo{ID: pet.NewID(sha256.Sum256(body), pet.PNG), Body: body, Width: 8, Height: 8, Weight: pet.DefaultWeight}
		if _, err := idx.Add(w.t.Context(), p); err != nil {
			w.t.Fatal(err)
		}
		ids = append(ids, p.ID)
	}
	return ids
}

// age makes what is below a prefix older than it is.
func (w *world) age(bucket, prefix string, by time.Duration) (changed int) {
	w.t.Helper()
	then := time.Now().Add(-by)
	root := filepath.Join(folder, "buckets", bucket, prefix)
	err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		changed++
		return os.Chtimes(path, then, then)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return changed
}

// keys are those below a prefix.
func (w *world) keys(bucket, prefix string) (keys []string) {
	w.t.Helper()
	page, err := s3blob.New(w.direct, bucket).List(w.t.Context(), prefix, "", 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range page.Objects {
		keys = append(keys, o.Key)
	}
	return keys
}

// put stores an object past everything.
func (w *world) put(bucket, key string) {
	w.t.Helper()
	if _, err := w.direct.PutObject(w.t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key}); err != nil {
		w.t.Fatal(err)
	}
}

// metric finds a metric in lines that were logged, and says how often it was told, with the sum.
func metric(lines []string, name string, dimensions map[string]string) (told int, sum float64) {
	for _, line := range lines {
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) != nil || m["_aws"] == nil {
			continue
		}
		match := true
		for d, v := range dimensions {
			match = match && m[d] == v
		}
		if v, ok := m[name].(float64); ok && match {
			told, sum = told+1, sum+v
		}
	}
	return told, sum
}

// unavailable: an answer of ours, which says when to come back.
func unavailable(r reply) bool {
	return r.Status == http.StatusServiceUnavailable && r.Headers["Content-Type"] == "application/problem+json" && r.Headers["Retry-After"] != ""
}

// failing is an index whose photos cannot be deleted.
func (w *world) failing(label pet.Label) *index.Index {
	photos := blobtest.NewFaulty(s3blob.New(w.direct, w.photos))
	photos.Fail(func(op blobtest.Op, key string) error {
		if op == blobtest.Delete {
			return blobtest.Outage(op, key)
		}
		return nil
	}, nil)
	return index.OpenAll(index.Config{Photos: photos, Index: s3blob.New(w.direct, w.index)})[label]
}
