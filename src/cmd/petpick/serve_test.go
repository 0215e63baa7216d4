package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"image"
	_ "image/jpeg"
	_ "image/png"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "golang.org/x/image/webp"

	"petpick/src/index/drawtest"
	"petpick/src/photo"
	"petpick/src/photo/phototest"
)

// The tests run the program itself, as a process of its own: this binary, told by its environment to be petpick.
func TestMain(m *testing.M) {
	if os.Getenv("PETPICK_TEST_AS_PROGRAM") != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
	}
	if endpoint := os.Getenv("PETPICK_TEST_AS_CURATOR"); endpoint != "" {
		os.Exit(curate(endpoint))
	}
	os.Exit(m.Run())
}

func program(args ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), "PETPICK_TEST_AS_PROGRAM=1", "AWS_EC2_METADATA_DISABLED=true")
	return cmd
}

// server is a running `petpick serve`.
type server struct {
	cmd    *exec.Cmd
	url    string
	banner string
	log    *bytes.Buffer
	client *http.Client
	pages  chan struct{} // closed when its output ends
}

var atLine = regexp.MustCompile(`^petpick is at (\S+)`)

func start(t *testing.T, data string, args ...string) *server {
	t.Helper()
	s := &server{
		cmd: program(append([]string{"serve", "--addr", "127.0.0.1:0", "--data", data, "--log-level", "warn"}, args...)...),
		log: &bytes.Buffer{}, pages: make(chan struct{}),
		client: &http.Client{
			Timeout:       time.Minute,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
		},
	}
	s.cmd.Stderr = s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		s.banner += lines.Text() + "\n"
		if m := atLine.FindStringSubmatch(lines.Text()); m != nil {
			s.url = m[1]
		}
		if strings.HasPrefix(lines.Text(), "stop:") {
			break
		}
	}
	if s.url == "" {
		t.Fatalf("serve said no address: %s%s", s.banner, s.log)
	}
	go func() { _, _ = io.Copy(io.Discard, out); close(s.pages) }()
	return s
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.pages
	_ = s.cmd.Wait()
}

type record struct {
	ID           string    `json:"id"`
	Label        string    `json:"label"`
	URL          string    `json:"url"`
	Type         string    `json:"type"`
	Bytes        int       `json:"bytes"`
	Width        int       `json:"width"`
	Height       int       `json:"height"`
	Weight       float64   `json:"weight"`
	UploadedAt   time.Time `json:"uploaded_at"`
	IndexVersion int       `json:"index_version"`
	Created      bool      `json:"created"`
}

type reply struct {
	status int
	header http.Header
	body   []byte
}

func (s *server) do(method, path string, header map[string]string, body io.Reader) (reply, error) {
	req, err := http.NewRequest(method, s.url+path, body)
	if err != nil {
		return reply{}, err
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, b}, err
}

func (s *server) get(t *testing.T, path string) reply {
	t.Helper()
	r, err := s.do("GET", path, nil, nil)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return r
}

var asDev = map[string]string{"Authorization": "Bearer dev"}

func form(fields ...string) (string, *bytes.Buffer) {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "image" || fields[i] == "file" {
			part, _ := w.CreateFormFile(fields[i], `../../a "strange" name.html`)
			_, _ = part.Write([]byte(fields[i+1]))
		} else {
			_ = w.WriteField(fields[i], fields[i+1])
		}
	}
	_ = w.Close()
	return w.FormDataContentType(), &body
}

func (s *server) uploadForm(fields ...string) (reply, error) {
	contentType, body := form(fields...)
	return s.do("POST", "/upload", map[string]string{"Authorization": "Bearer dev", "Content-Type": contentType}, body)
}

func (s *server) upload(t *testing.T, label, weight string, image []byte) record {
	t.Helper()
	r, err := s.uploadForm("label", label, "weight", weight, "image", string(image))
	if err != nil || r.status != http.StatusCreated {
		t.Fatalf("upload: %d %s %v", r.status, r.body, err)
	}
	return decode[record](t, r.body)
}

func decode[T any](t *testing.T, body []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	return v
}

type stats struct {
	Labels map[string]struct {
		Pictures int     `json:"pictures"`
		Weight   float64 `json:"weight"`
	} `json:"labels"`
}

func pixels(t *testing.T, data []byte) image.Image {
	t.Helper()
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("not a picture: %v", err)
	}
	return img
}

func samePixels(a, b image.Image) bool {
	if a.Bounds() != b.Bounds() {
		return false
	}
	for y := a.Bounds().Min.Y; y < a.Bounds().Max.Y; y++ {
		for x := a.Bounds().Min.X; x < a.Bounds().Max.X; x++ {
			r1, g1, b1, a1 := a.At(x, y).RGBA()
			if r2, g2, b2, a2 := b.At(x, y).RGBA(); r1 != r2 || g1 != g2 || b1 != b2 || a1 != a2 {
				return false
			}
		}
	}
	return true
}

func TestUploadAndDraw(t *testing.T) {
	data := t.TempDir()
	s := start(t, data)
	if r := s.get(t, "/random?label=cat"); r.status != http.StatusNotFound {
		t.Fatalf("empty: got %d", r.status)
	}
	media := map[string]string{"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
	for i, name := range phototest.Sound() {
		ext := name[strings.LastIndexByte(name, '.')+1:]
		body := phototest.File(name)
		want, err := photo.NewInspector().Publish(t.Context(), body)
		if err != nil {
			t.Fatal(err)
		}
		var r reply
		switch i % 3 { // the three ways to send it
		case 0:
			r, err = s.uploadForm("label", "cat", "image", string(body))
		case 1:
			r, err = s.uploadForm("file", string(body), "ignored", "x", "weight", "1", "label", "cat")
		case 2:
			r, err = s.do("POST", "/upload?label=cat&ignored=1", asDev, bytes.NewReader(body))
		}
		if err != nil || r.status != http.StatusCreated {
			t.Fatalf("%s: %d %s %v", name, r.status, r.body, err)
		}
		rec := decode[record](t, r.body)
		if rec.Type != media[ext] || rec.Bytes != len(want.Body) || rec.Width != want.Width || rec.Height != want.Height || rec.Weight != 1 || !rec.Created || rec.Label != "cat" ||
			rec.URL != s.url+"/cat/"+rec.ID+"."+ext || time.Since(rec.UploadedAt) > time.Hour || rec.IndexVersion < 1 ||
			r.header.Get("Location") != "/pets/cat/"+rec.ID {
			t.Errorf("%s: got %+v, Location %q", name, rec, r.header.Get("Location"))
		}
		again, err := s.do("POST", "/upload?label=cat&weight=7", asDev, bytes.NewReader(body))
		if err != nil || again.status != http.StatusOK {
			t.Fatalf("%s again: %d %s %v", name, again.status, again.body, err)
		}
		if rec2 := decode[record](t, again.body); rec2.ID != rec.ID || rec2.Created || rec2.Weight != 1 {
			t.Errorf("%s again: got %+v", name, rec2)
		}
		// The picture itself.
		pic := s.get(t, "/cat/"+rec.ID+"."+ext)
		if pic.status != http.StatusOK || !bytes.Equal(pic.body, want.Body) || !samePixels(pixels(t, pic.body), pixels(t, body)) {
			t.Errorf("%s: the picture is not what was uploaded (%d)", name, pic.status)
		}
		for header, want := range map[string]string{
			"Content-Type": media[ext], "Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff",
			"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin", "Timing-Allow-Origin": "*",
			"Content-Security-Policy": "sandbox; default-src 'none'", "X-Amz-Meta-Weight": "",
		} {
			if got := pic.header.Get(header); got != want {
				t.Errorf("%s: %s: got %q, want %q", name, header, got, want)
			}
		}
		// Its record.
		show := s.get(t, "/pets/cat/"+rec.ID)
		if got := decode[record](t, show.body); show.status != http.StatusOK || got.ID != rec.ID || got.Width != rec.Width {
			t.Errorf("%s: record: %d %s", name, show.status, show.body)
		}
		if r, err := s.do("GET", "/pets/cat/"+rec.ID, map[string]string{"If-None-Match": show.header.Get("ETag")}, nil); err != nil || r.status != http.StatusNotModified {
			t.Errorf("%s: record with its ETag: %d %v", name, r.status, err)
		}
	}
	if r := s.get(t, "/pets/dog/"+strings.Repeat("0", 31)+"1"); r.status != http.StatusNotFound {
		t.Errorf("a record that is not there: %d", r.status)
	}
	// A copy with other metadata is the same picture.
	const secret = "SECRET 47.1234 N 8.5678 E"
	copied := phototest.InJPEG(phototest.File("baseline.jpg"), phototest.Segment(0xE1, "Exif\x00\x00"+string(phototest.EXIF(binary.BigEndian, 1, secret))), phototest.Segment(0xFE, secret))
	r, err := s.uploadForm("label", "cat", "image", string(append(copied, secret...)))
	if rec := decode[record](t, r.body); err != nil || r.status != http.StatusOK || rec.Created || !bytes.Equal(s.get(t, "/cat/"+rec.ID+".jpg").body, phototest.File("baseline.jpg")) {
		t.Errorf("a copy with metadata: %d %s %v", r.status, r.body, err)
	}
	testFormats(t, s)
	testConditions(t, s)
	// Everything survives a restart.
	before := s.get(t, "/stats").body
	s.interrupt(t)
	s = start(t, data)
	if after := s.get(t, "/stats").body; !bytes.Equal(before, after) {
		t.Errorf("stats before the restart %s, after %s", before, after)
	}
	testFormats(t, s)
}

// interrupt is Ctrl-C.
func (s *server) interrupt(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-s.pages
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("stopping: %v\n%s", err, s.log)
	}
}

func testFormats(t *testing.T, s *server) {
	location := regexp.MustCompile(`^/cat/[0-9a-f]{32}\.(jpg|png|webp)$`)
	for _, method := range []string{"GET", "HEAD"} {
		r, err := s.do(method, "/random?label=cat&i=1", nil, nil)
		if err != nil || r.status != http.StatusFound || !location.MatchString(r.header.Get("Location")) || len(r.body) != 0 ||
			r.header.Get("Cache-Control") != "no-store" || r.header.Get("Access-Control-Allow-Origin") != "*" || r.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s redirect: %d %v %q %v", method, r.status, r.header, r.body, err)
		}
	}
	r := s.get(t, "/random?label=cat&format=json")
	if rec := decode[record](t, r.body); r.status != 200 || r.header.Get("Content-Type") != "application/json" || rec.URL != s.url+"/cat/"+rec.ID+rec.URL[strings.LastIndexByte(rec.URL, '.'):] || rec.Weight != 1 {
		t.Errorf("json: %d %v %s", r.status, r.header, r.body)
	}
	r = s.get(t, "/random?label=cat&format=text")
	url, nl := strings.CutSuffix(string(r.body), "\n")
	if path, ours := strings.CutPrefix(url, s.url); r.status != 200 || !nl || !ours || !location.MatchString(path) || !strings.HasPrefix(r.header.Get("Content-Type"), "text/plain") {
		t.Errorf("text: %d %q", r.status, r.body)
	}
	r = s.get(t, "/random?label=cat&format=image")
	if pixels(t, r.body); r.status != 200 || !strings.HasPrefix(r.header.Get("Content-Type"), "image/") || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("image: %d %v", r.status, r.header)
	}
	if r, err := s.do("HEAD", "/random?label=cat&format=image", nil, nil); err != nil || r.status != 200 || len(r.body) != 0 || r.header.Get("Content-Length") == "0" {
		t.Errorf("HEAD image: %d %v %v", r.status, r.header, err)
	}
}

func testConditions(t *testing.T, s *server) {
	path := s.get(t, "/random?label=cat").header.Get("Location")
	whole := s.get(t, path)
	etag := whole.header.Get("ETag")
	for name, c := range map[string]struct {
		header map[string]string
		status int
		body   []byte
	}{
		"range":              {map[string]string{"Range": "bytes=2-9"}, 206, whole.body[2:10]},
		"suffix range":       {map[string]string{"Range": "bytes=-3"}, 206, whole.body[len(whole.body)-3:]},
		"range past the end": {map[string]string{"Range": "bytes=99999999-"}, 416, nil},
		"known":              {map[string]string{"If-None-Match": etag}, 304, nil},
		"changed":            {map[string]string{"If-None-Match": `"other"`}, 200, whole.body},
		"with an Origin":     {map[string]string{"Origin": "https://example.com"}, 200, whole.body},
	} {
		r, err := s.do("GET", path, c.header, nil)
		if err != nil || r.status != c.status || c.body != nil && !bytes.Equal(r.body, c.body) || r.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: got %d, %d bytes, %v, %v; want %d, %d bytes", name, r.status, len(r.body), r.header, err, c.status, len(c.body))
		}
	}
	r, err := s.do("HEAD", path, nil, nil)
	if err != nil || r.status != 200 || len(r.body) != 0 || r.header.Get("Content-Length") != strconv.Itoa(len(whole.body)) {
		t.Errorf("HEAD: %d %v %v", r.status, r.header, err)
	}
	patch, err := s.do("OPTIONS", "/pets/cat/x", map[string]string{
		"Origin": "https://example.com", "Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization, if-match",
	}, nil)
	if err != nil || patch.status != 204 || !strings.Contains(patch.header.Get("Access-Control-Allow-Methods"), "PATCH") || !strings.Contains(patch.header.Get("Access-Control-Allow-Headers"), "if-match") {
		t.Errorf("preflight of PATCH: %d %v %v", patch.status, patch.header, err)
	}
	preflight, err := s.do("OPTIONS", "/upload", map[string]string{
		"Origin": "https://example.com", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization",
	}, nil)
	if err != nil || preflight.status != 204 || preflight.header.Get("Access-Control-Allow-Origin") != "*" ||
		!strings.Contains(preflight.header.Get("Access-Control-Allow-Methods"), "POST") ||
		!strings.Contains(preflight.header.Get("Access-Control-Allow-Headers"), "authorization") {
		t.Errorf("preflight: %d %v %v", preflight.status, preflight.header, err)
	}
	robots := s.get(t, "/robots.txt")
	if robots.status != 200 || !strings.Contains(string(robots.body), "Disallow: /random") {
		t.Errorf("robots.txt: %d %s", robots.status, robots.body)
	}
	if r := s.get(t, "/healthz"); r.status != 200 || !strings.Contains(string(r.body), `"ok"`) {
		t.Errorf("healthz: %d %s", r.status, r.body)
	}
	if r := s.get(t, "/openapi.yaml"); r.status != 200 || !strings.HasPrefix(string(r.body), "openapi: 3") || r.header.Get("Content-Type") != "application/yaml" {
		t.Errorf("openapi.yaml: %d %v", r.status, r.header)
	}
	page := s.get(t, "/")
	for _, part := range []string{`id="cat"`, `id="dog"`, "Another cat", "Another dog", `type="file"`, "/random?label="} {
		if page.status != 200 || !strings.Contains(string(page.body), part) || !strings.Contains(page.header.Get("Content-Security-Policy"), "script-src 'sha256-") {
			t.Errorf("page: %d, lacks %s", page.status, part)
		}
	}
	if r, err := s.do("HEAD", "/", nil, nil); err != nil || r.status != 200 {
		t.Errorf("HEAD of the page: %d %v", r.status, err)
	}
}

func TestFirstAndLaterPicturesAreSeen(t *testing.T) {
	s := start(t, t.TempDir())
	for _, label := range []string{"cat", "dog"} {
		if r := s.get(t, "/random?label="+label); r.status != 404 {
			t.Fatalf("empty: %d", r.status)
		}
		first := s.upload(t, label, "1", phototest.JPEG(1, 8, 8))
		if r := s.get(t, "/random?label="+label); r.status != 302 || !strings.Contains(r.header.Get("Location"), first.ID) {
			t.Errorf("the very next request: %d %v", r.status, r.header)
		}
		heavy := s.upload(t, label, "16777", phototest.JPEG(2, 8, 8))
		deadline := time.Now().Add(time.Second + 300*time.Millisecond) // the promise, and the bound on a refresh
		for {
			if r := s.get(t, "/random?label="+label); strings.Contains(r.header.Get("Location"), heavy.ID) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("a heavy picture was not drawn a second after its 201")
			}
		}
	}
}

// crowd uploads pictures of seeds from to to-1, 32 at a time, and returns the ids that were acknowledged.
func (s *server) crowd(from, to uint64) map[string]bool {
	var mu sync.Mutex
	acked := map[string]bool{}
	seeds := make(chan uint64)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for seed := range seeds {
				r, err := s.uploadForm("label", "dog", "image", string(phototest.PNG(seed, 6, 6)))
				for err == nil && r.status == http.StatusTooManyRequests { // the API's throttling: as a client does, a little later again
					time.Sleep(50 * time.Millisecond)
					r, err = s.uploadForm("label", "dog", "image", string(phototest.PNG(seed, 6, 6)))
				}
				if err == nil && r.status == http.StatusCreated {
					var rec record
					if json.Unmarshal(r.body, &rec) == nil {
						mu.Lock()
						acked[rec.ID] = true
						mu.Unlock()
					}
				}
			}
		})
	}
	for seed := from; seed < to; seed++ {
		seeds <- seed
	}
	close(seeds)
	wg.Wait()
	return acked
}

func (s *server) wantDrawable(t *testing.T, ids map[string]bool) {
	t.Helper()
	missing := map[string]bool{}
	for id := range ids {
		missing[id] = true
	}
	// Of 3,000 pictures one or more are missed by 90,000 draws with a probability of 3e-10.
	for range 90_000 {
		location := s.get(t, "/random?label=dog").header.Get("Location")
		delete(missing, strings.TrimSuffix(strings.TrimPrefix(location, "/dog/"), ".png"))
		if len(missing) == 0 {
			return
		}
	}
	t.Errorf("%d of %d acknowledged pictures are never drawn", len(missing), len(ids))
}

func TestACrowdOfUploads(t *testing.T) {
	s := start(t, t.TempDir())
	acked := s.crowd(0, 500)
	if len(acked) != 500 {
		t.Fatalf("%d of 500 were acknowledged\n%s", len(acked), s.log)
	}
	if got := decode[stats](t, s.get(t, "/stats").body).Labels["dog"].Pictures; got != 500 {
		t.Errorf("stats count %d of 500", got)
	}
	s.wantDrawable(t, acked)
}

func TestKilledInTheMiddle(t *testing.T) {
	data := t.TempDir()
	acked := map[string]bool{}
	for round := range uint64(3) {
		s := start(t, data)
		done := make(chan map[string]bool)
		go func() { done <- s.crowd(round*400, round*400+400) }()
		for { // until a good part of it is in
			r, err := s.do("GET", "/stats", nil, nil)
			if err == nil && decode[stats](t, r.body).Labels["dog"].Pictures >= len(acked)+150 {
				break
			}
		}
		s.kill() // -9
		for id := range <-done {
			acked[id] = true
		}
	}
	if len(acked) < 250 {
		t.Fatalf("only %d uploads were acknowledged: the test tests nothing", len(acked))
	}
	s := start(t, data)
	if got := decode[stats](t, s.get(t, "/stats").body).Labels["dog"].Pictures; got < len(acked) {
		t.Errorf("stats count %d, acknowledged were %d", got, len(acked))
	}
	s.wantDrawable(t, acked)
	// What was in flight is completed by sending it again.
	s.crowd(0, 1200)
	if got := decode[stats](t, s.get(t, "/stats").body).Labels["dog"].Pictures; got != 1200 {
		t.Errorf("after sending all again: %d of 1,200", got)
	}
}

func TestDistributionThroughHTTP(t *testing.T) {
	s := start(t, t.TempDir())
	weights := map[string]map[string]float64{"cat": {}, "dog": {}}
	for label, ws := range map[string][]string{
		"cat": {"1", "3"},
		"dog": {"0.001", "0.01", "0.1", "0.5", "1", "2.5", "10", "33.333", "100", "1000", "0"},
	} {
		for i, w := range ws {
			f, _ := strconv.ParseFloat(w, 64)
			weights[label][s.upload(t, label, w, phototest.JPEG(uint64(i), 8, 8)).ID] = f
		}
	}
	// Nothing was drawn so far: the first draw reads an index that has them all.
	for label, want := range weights {
		const draws, wide = 100_000, 8
		var mu sync.Mutex
		counts := map[string]int{}
		var wg sync.WaitGroup
		for range wide {
			wg.Go(func() {
				mine := map[string]int{}
				for range draws / wide {
					r, err := s.do("GET", "/random?label="+label, nil, nil)
					if err != nil || r.status != 302 {
						t.Errorf("draw: %d %v", r.status, err)
						return
					}
					location := r.header.Get("Location")
					mine[strings.TrimSuffix(strings.TrimPrefix(location, "/"+label+"/"), ".jpg")]++
				}
				mu.Lock()
				defer mu.Unlock()
				for id, n := range mine {
					counts[id] += n
				}
			})
		}
		wg.Wait()
		if z := drawtest.Z(counts, want); z > drawtest.MaxZ {
			t.Errorf("%s: z = %.1f: %v of %v", label, z, counts, want)
		}
	}
}

func TestRefusesToStart(t *testing.T) {
	data := t.TempDir()
	s := start(t, data)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"any address":     {[]string{"--addr", "0.0.0.0:0"}, "refusing to listen"},
		"no host":         {[]string{"--addr", ":0"}, "refusing to listen"},
		"public address":  {[]string{"--addr", "192.0.2.1:80"}, "refusing to listen"},
		"a host name":     {[]string{"--addr", "example.com:80"}, "refusing to listen"},
		"s3 elsewhere":    {[]string{"--s3-addr", "0.0.0.0:0"}, "refusing to listen"},
		"no address":      {[]string{"--addr", "8080"}, "not an address"},
		"port in use":     {[]string{"--addr", strings.TrimPrefix(s.url, "http://")}, "address already in use"},
		"data in use":     {[]string{"--addr", "127.0.0.1:0", "--data", data}, "another petpick serves from it"},
		"log level":       {[]string{"--log-level", "loud"}, "--log-level"},
		"public url":      {[]string{"--addr", "127.0.0.1:0", "--public-url", "nonsense"}, "--public-url"},
		"an argument":     {[]string{"extra"}, "extra"},
		"an unknown flag": {[]string{"--nonsense"}, "--nonsense"},
		"no credentials":  {[]string{"--addr", "127.0.0.1:0", "--s3-endpoint", "http://127.0.0.1:1"}, "AWS_ACCESS_KEY_ID"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := program(append([]string{"serve", "--data", t.TempDir()}, c.args...)...)
			if name == "data in use" {
				cmd = program(append([]string{"serve"}, c.args...)...)
			}
			cmd.Env = append(cmd.Env, "AWS_EC2_METADATA_DISABLED=true", "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_CONFIG_FILE=/nonexistent", "AWS_SHARED_CREDENTIALS_FILE=/nonexistent")
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.want) || strings.Count(string(out), "\n") > 3 {
				t.Errorf("got %v: %s; want %q in a line or two", err, out, c.want)
			}
		})
	}
}

// Any S3-compatible server will do: here, the one embedded in another petpick.
func TestAnotherS3Server(t *testing.T) {
	first := start(t, t.TempDir())
	rec := first.upload(t, "cat", "1", phototest.JPEG(1, 8, 8))
	m := regexp.MustCompile(`AWS_ACCESS_KEY_ID=(\S+) AWS_SECRET_ACCESS_KEY=(\S+)[\s\S]*--endpoint-url (\S+) `).FindStringSubmatch(first.banner)
	if m == nil {
		t.Fatalf("the banner has no S3 endpoint with credentials:\n%s", first.banner)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", m[1])
	t.Setenv("AWS_SECRET_ACCESS_KEY", m[2])
	second := start(t, t.TempDir(), "--s3-endpoint", m[3])
	if strings.Contains(second.banner, m[2]) {
		t.Error("the banner shows the secret of a server that is not ours")
	}
	if r := second.get(t, "/random?label=cat&format=json"); r.status != 200 || decode[record](t, r.body).ID != rec.ID {
		t.Errorf("got %d %s, want what the first stored", r.status, r.body)
	}
	// Two processes write one index.
	done := make(chan map[string]bool)
	go func() { done <- first.crowd(0, 60) }()
	acked := second.crowd(60, 120)
	for id := range <-done {
		acked[id] = true
	}
	if len(acked) != 120 {
		t.Errorf("%d of 120 were acknowledged", len(acked))
	}
	for _, s := range []*server{first, second} { // each sees the other's within its refresh interval
		got, deadline := 0, time.Now().Add(5*time.Second)
		for got != 120 && time.Now().Before(deadline) {
			got = decode[stats](t, s.get(t, "/stats").body).Labels["dog"].Pictures
		}
		if got != 120 {
			t.Errorf("stats count %d of 120", got)
		}
	}
}

// A crowd of 3,000 fills the tail: it is spilled, and upkeep from another process merges while uploads go on.
func TestUpkeepBesideUploads(t *testing.T) {
	s := start(t, t.TempDir())
	m := regexp.MustCompile(`AWS_ACCESS_KEY_ID=(\S+) AWS_SECRET_ACCESS_KEY=(\S+)[\s\S]*--endpoint-url (\S+) `).FindStringSubmatch(s.banner)
	t.Setenv("AWS_ACCESS_KEY_ID", m[1])
	t.Setenv("AWS_SECRET_ACCESS_KEY", m[2])
	stop, tended := make(chan struct{}), make(chan int)
	go func() {
		runs := 0
		defer func() { tended <- runs }()
		for ; ; runs++ {
			select {
			case <-stop:
				return
			default:
			}
			if out, err := program("tend", "--s3-endpoint", m[3]).CombinedOutput(); err != nil {
				t.Errorf("tend: %v: %s", err, out)
				return
			}
		}
	}()
	acked := s.crowd(0, 3000)
	close(stop)
	if runs := <-tended; runs < 2 || len(acked) != 3000 {
		t.Errorf("%d runs of tend, %d of 3,000 uploads acknowledged\n%s", runs, len(acked), s.log)
	}
	if got := decode[stats](t, s.get(t, "/stats").body).Labels["dog"]; got.Pictures != 3000 || got.Weight != 3000 {
		t.Errorf("stats: %+v, want 3,000 pictures", got)
	}
	s.wantDrawable(t, acked)
	if out, err := program("tend", "--data", t.TempDir()).CombinedOutput(); err != nil { // nothing to do
		t.Errorf("tend of an empty folder: %v: %s", err, out)
	}
}

func TestFsckAndReindex(t *testing.T) {
	data := t.TempDir()
	s := start(t, data)
	acked := s.crowd(0, 200)
	lost := s.upload(t, "cat", "3", phototest.JPEG(1, 8, 8))
	s.upload(t, "cat", "2", phototest.JPEG(2, 8, 8))
	before := decode[stats](t, s.get(t, "/stats").body)
	s.interrupt(t)
	verb := func(status int, want string, args ...string) {
		t.Helper()
		cmd := program(args...)
		out, err := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != status || !strings.Contains(string(out), want) {
			t.Errorf("%v: status %d, %v: %s; want %d with %q", args, got, err, out, status, want)
		}
	}
	verb(0, "", "fsck", "--data", data)
	// The index is gone, with all that was in it.
	if err := os.RemoveAll(filepath.Join(data, "s3", "buckets", "petpick-index")); err != nil {
		t.Fatal(err)
	}
	verb(1, "fault cat/"+lost.ID, "fsck", "--data", data)
	verb(0, "", "reindex", "--data", data)
	verb(0, "", "fsck", "--data", data)
	// A picture's bytes are gone behind the index's back.
	if err := os.Remove(filepath.Join(data, "s3", "buckets", "petpick-photos", "cat", lost.ID+".jpg")); err != nil {
		t.Fatal(err)
	}
	verb(1, "the index says 3 in 1 places, the truth 0", "fsck", "--data", data)
	verb(0, "mended cat/"+lost.ID, "fsck", "--repair", "--data", data)
	verb(0, "", "fsck", "--data", data)
	verb(2, "AWS_ACCESS_KEY_ID", "fsck", "--s3-endpoint", "http://127.0.0.1:1", "--data", t.TempDir())
	s = start(t, data)
	verb(2, "another petpick serves from it: use the --s3-endpoint", "fsck", "--data", data)
	after := decode[stats](t, s.get(t, "/stats").body)
	if after.Labels["dog"] != before.Labels["dog"] || after.Labels["cat"].Pictures != 1 || after.Labels["cat"].Weight != 2 {
		t.Errorf("before %+v, after %+v, less one cat of weight 3", before, after)
	}
	s.wantDrawable(t, acked)
}

func TestVersion(t *testing.T) {
	var out, errs bytes.Buffer
	if status := run(t.Context(), []string{"version"}, &out, &errs); status != 0 || !strings.HasPrefix(out.String(), "petpick ") {
		t.Errorf("got %d %q %q", status, out.String(), errs.String())
	}
	if status := run(t.Context(), []string{"nonsense"}, &out, &errs); status != 1 || !strings.Contains(errs.String(), "nonsense") {
		t.Errorf("unknown verb: %d %q", status, errs.String())
	}
}
