package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"petpick/src/metrics"
	"petpick/src/pet"
)

var functions = []string{"upload", "random", "tend"}

// Every variable of the template is needed, and all of them suffice: without one the function does not start, and its log names it.
func TestMissingVariable(t *testing.T) {
	w := deploy(t)
	for _, name := range functions {
		f := w.function(name)
		f.warm()
		for variable := range f.settings.Environment {
			if !strings.HasPrefix(variable, "PETPICK_") || variable == "PETPICK_OPEN_UPLOADS" { // the rest has defaults
				continue
			}
			env := f.variables()
			delete(env, variable)
			e := launch(t, binary(name), env)
			if _, err := e.init(); err == nil || err.Error() != exitError {
				t.Errorf("%s starts without %s: %v", name, variable, err)
			} else if log := strings.Join(e.logs.take(), "\n"); !strings.Contains(log, variable) {
				t.Errorf("%s without %s: the log does not say so: %s", name, variable, log)
			}
		}
	}
}

// The first draw of an environment, and those after it: nothing is logged of what went well but one line with the cold start.
func TestDraws(t *testing.T) {
	w := deploy(t)
	random := w.function("random")
	if r := random.draw("label=cat"); r.Status != 404 || r.Headers["Content-Type"] != "application/problem+json" || r.Headers["Cache-Control"] != "no-store" {
		t.Fatalf("nothing to draw: got %+v", r)
	}
	ids := w.seed("cat", 0, 3)
	random.cool()
	random.env = nil
	seen := map[string]bool{}
	for range 100 {
		r := random.draw("label=cat")
		if r.Status != http.StatusFound || r.Body != "" || r.Headers["Cache-Control"] != "no-store" || r.Headers["Access-Control-Allow-Origin"] != "*" {
			t.Fatalf("got %+v", r)
		}
		seen[r.Headers["Location"]] = true
	}
	for _, id := range ids {
		if !seen["/"+pet.Key("cat", id)] {
			t.Errorf("%s was not drawn in 100 draws of 3", id)
		}
	}
	log := random.env.logs.take()
	if n, sum := metric(log, metrics.ColdStarts, map[string]string{"Stage": "e2e"}); n != 1 || sum != 1 || len(log) != 1 {
		t.Errorf("100 draws logged %d cold starts and %d lines:\n%s", n, len(log), strings.Join(log, "\n"))
	}
	if r := random.draw("label=cat&format=text"); r.Status != 200 || !strings.HasPrefix(r.Body, "https://d111111abcdef8.cloudfront.net/cat/") {
		t.Errorf("text: got %+v", r)
	}
	if r := random.draw("label=cat&format=image"); r.Status != 200 || !r.Base64 || !bytes.HasPrefix(r.bytes(), []byte("\x89PNG")) {
		t.Errorf("image: got %+v", r)
	}
	if r := random.draw("label=bird"); r.Status != 400 {
		t.Errorf("bird: got %+v", r)
	}
}

// While the store fails, draws go on; an environment that never saw the index says so in our words.
func TestDrawsWhileTheStoreFails(t *testing.T) {
	w := deploy(t)
	w.seed("cat", 0, 1)
	random := w.function("random")
	if r := random.draw("label=cat"); r.Status != 302 {
		t.Fatalf("got %+v", r)
	}
	asked := make(chan struct{}, 1)
	random.on(func(call, *http.Request) int {
		select {
		case asked <- struct{}{}:
		default:
		}
		return 503
	})
	for done := false; !done; {
		if r := random.draw("label=cat"); r.Status != 302 {
			t.Fatalf("a draw while the store fails: %+v", r)
		}
		select {
		case <-asked: // the view is a second old, and a newer one cannot be had
			done = true
		default:
		}
	}
	if r := random.draw("label=cat"); r.Status != 302 {
		t.Errorf("a draw after a refresh that failed: %+v", r)
	}
	cold := w.function("random")
	cold.on(func(call, *http.Request) int { return 503 })
	if r := cold.draw("label=cat"); !unavailable(r) {
		t.Errorf("a cold start while the store fails: %+v", r)
	}
	log := cold.env.logs.take()
	if _, failures := metric(log, metrics.RefreshFailures, nil); failures != 1 {
		t.Errorf("%v failed refreshes were told, want 1:\n%s", failures, strings.Join(log, "\n"))
	}
}

// An event that is no request is a function error: Lambda hears of it, and the environment goes on.
func TestFunctionError(t *testing.T) {
	w := deploy(t)
	w.seed("cat", 0, 1)
	for _, name := range []string{"random", "upload"} {
		f := w.function(name)
		out := f.warm().invoke([]byte(`["not a request"]`), f.timeout())
		if out.Error == nil || out.Error.ErrorType != "UnmarshalTypeError" {
			t.Errorf("%s: got %s, %+v", name, out.Response, out.Error)
		}
	}
	// A tend that cannot reach the store failed, which is what its alarm is about.
	tend := w.function("tend")
	tend.extra = map[string]string{"AWS_MAX_ATTEMPTS": "1"} // the SDK's own retries would take half a minute
	tend.on(func(call, *http.Request) int { return 503 })
	out := tend.warm().invoke(event(t, "schedule", nil), tend.timeout())
	if out.Error == nil || !strings.Contains(out.Error.ErrorMessage, "store unavailable") {
		t.Errorf("tend: got %s, %+v", out.Response, out.Error)
	}
	before := tend.env
	tend.on(nil)
	if out := tend.warm().invoke(event(t, "schedule", nil), tend.timeout()); out.Error != nil || tend.env != before {
		t.Errorf("tend afterwards: %+v, in the same environment: %v", out.Error, tend.env == before)
	}
}

// hold makes one kind of call wait, and tells when there is one.
func (f *function) hold(stop func(call) bool) (met <-chan struct{}, release func()) {
	ch, end := make(chan struct{}), make(chan struct{})
	var once sync.Once
	release = sync.OnceFunc(func() { close(end) })
	f.t.Cleanup(release) // before the server is closed, which waits for its requests
	f.on(func(c call, r *http.Request) int {
		if !stop(c) {
			return 0
		}
		once.Do(func() { close(ch) })
		select {
		case <-end:
		case <-r.Context().Done():
		}
		return 0
	})
	return ch, release
}

// A store that does not answer: the function does, before its time is over.
func TestDeadline(t *testing.T) {
	w := deploy(t)
	w.seed("cat", 0, 1)
	for name, e := range map[string][]byte{"random": urlEvent(t, "label=cat"), "upload": request{method: "GET", path: "/stats", route: "GET /stats"}.event(t)} {
		f := w.function(name)
		_, release := f.hold(func(call) bool { return true })
		before := f.warm()
		if r := f.reply(before.invoke(e, 2*time.Second)); !unavailable(r) {
			t.Errorf("%s: got %+v", name, r)
		}
		f.on(nil)
		release()
		if r := f.reply(f.warm().invoke(e, f.timeout())); r.Status >= 400 || f.env != before {
			t.Errorf("%s, when the store answers again: %+v; in the same environment: %v", name, r, f.env == before)
		}
	}
	tend := w.function("tend")
	_, release := tend.hold(func(call) bool { return true })
	if out := tend.warm().invoke(event(t, "schedule", nil), time.Second); out.Error == nil {
		t.Errorf("tend says that it is done: %s", out.Response)
	}
	release()
	tend.on(nil)
	if out := tend.warm().invoke(event(t, "schedule", nil), tend.timeout()); out.Error != nil {
		t.Errorf("tend afterwards: %+v", out.Error)
	}
}

// The end comes without a word: at once when idle, and in the middle of upkeep nothing is lost.
func TestSIGTERM(t *testing.T) {
	w := deploy(t)
	for _, name := range functions {
		e := w.function(name).warm()
		e.kill(syscall.SIGTERM)
		select {
		case <-e.exited:
		case <-time.After(2 * time.Second): // Lambda sends SIGKILL then
			t.Errorf("%s does not end", name)
		}
	}
	w.seed("cat", 0, 1)
	w.put(w.index, "journal/cat/0123456789abcdef-"+w.seed("cat", 1, 2)[0].String()+"-touch")
	tend := w.function("tend")
	met, release := tend.hold(func(c call) bool { return c.action == "s3:PutObject" && strings.HasSuffix(c.resource, "/root") })
	tend.warm().send(event(t, "schedule", nil), tend.timeout())
	<-met
	tend.env.kill(syscall.SIGTERM)
	if out := tend.env.await(tend.timeout()); out.Error == nil || out.Error.ErrorType != exitError {
		t.Errorf("got %s, %+v", out.Response, out.Error)
	}
	release()
	tend.on(nil)
	if out := tend.warm().invoke(event(t, "schedule", nil), tend.timeout()); out.Error != nil {
		t.Errorf("the next minute: %+v", out.Error)
	}
	if left := w.keys(w.index, "journal/"); len(left) > 0 {
		t.Errorf("left in the journal: %v", left)
	}
	if s, err := w.indexes()["cat"].Stats(t.Context()); err != nil || s.Pictures != 2 {
		t.Errorf("got %+v, %v", s, err)
	}
}

// An upload that was cut off was not acknowledged; sent again, it is there.
func TestUploadCutOff(t *testing.T) {
	w := deploy(t)
	upload := w.function("upload")
	q := request{method: "POST", path: "/upload", route: "POST /upload", query: "label=cat", body: picture(t, 1), header: map[string]string{"authorization": "Bearer " + upload.token}}
	met, release := upload.hold(func(c call) bool { return c.action == "s3:PutObject" && strings.Contains(c.resource, "/journal/") })
	upload.warm().send(q.event(t), upload.timeout())
	<-met
	upload.env.kill(syscall.SIGTERM)
	if out := upload.env.await(upload.timeout()); out.Error == nil || out.Error.ErrorType != exitError {
		t.Fatalf("got %s, %+v", out.Response, out.Error)
	}
	release()
	upload.on(nil)
	if r := upload.ask(q); r.Status != 200 {
		t.Errorf("sent again: %+v", r)
	}
	if r := w.function("random").draw("label=cat"); r.Status != 302 {
		t.Errorf("drawn: %+v", r)
	}
	upload.hold(func(c call) bool { return c.action == "s3:PutObject" })
	q.body = picture(t, 2)
	if r := upload.reply(upload.warm().invoke(q.event(t), 2*time.Second)); !unavailable(r) {
		t.Errorf("a deadline that passes: %+v", r)
	}
}

// Each function does all it ever does, under its role: everything must be permitted, and everything that is permitted must be needed.
func TestRoles(t *testing.T) {
	w := deploy(t)
	all := map[string]*function{}
	for _, name := range functions {
		all[name] = w.function(name)
	}
	for i, label := range pet.Labels {
		w.driveUpload(all["upload"], label, 1000*i)
		w.driveRandom(all["random"], label, 1000*i+100)
		w.driveTend(all["tend"], label, 1000*i+200)
	}
	for name, f := range all {
		for _, c := range f.denied {
			t.Errorf("%s is not allowed to %s on %s", name, c.action, c.resource)
		}
		for _, idle := range unused(f.policy, f.calls) {
			t.Errorf("%s never needs %s", name, idle)
		}
	}
}

// driveUpload does everything that the API has.
func (w *world) driveUpload(f *function, label pet.Label, n int) {
	t := w.t
	t.Helper()
	f.warm()
	f.env.logs.take()
	body := picture(t, n)
	q := request{method: "POST", path: "/upload", route: "POST /upload", query: "label=" + string(label), body: body, header: map[string]string{}}
	if r := f.ask(q); r.Status != http.StatusUnauthorized || r.Headers["Www-Authenticate"] == "" {
		t.Fatalf("an upload without token: %+v", r)
	}
	if told, _ := metric(f.env.logs.take(), metrics.Uploads, map[string]string{"Stage": "e2e", "Result": "refused"}); told != 1 {
		t.Errorf("%d uploads were told as refused, want 1", told)
	}
	for _, path := range []string{"/stats", "/healthz", "/robots.txt"} {
		if r := f.ask(request{method: "GET", path: path, route: "GET " + path}); r.Status != 200 {
			t.Errorf("%s: %+v", path, r)
		}
	}
	auth := map[string]string{"authorization": "Bearer " + f.token}
	q.header = auth
	f.on(w.rival(label, n+2))
	id := w.driveSmall(f, q, body)
	f.on(nil)
	one := request{
		method: "GET", path: "/pets/" + string(label) + "/" + id, route: "GET /pets/{label}/{id}", params: map[string]string{"label": string(label), "id": id},
	}
	if r := f.ask(one); r.Status != 200 {
		t.Errorf("record: %+v", r)
	}
	w.driveLarge(f, label, auth, picture(t, n+1))
	one.method, one.route, one.query, one.header = "DELETE", "DELETE /pets/{label}/{id}", "purge=true", auth
	if r := f.ask(one); r.Status != 200 {
		t.Errorf("removal: %+v", r)
	}
	if r := f.ask(q); r.Status != http.StatusUnavailableForLegalReasons {
		t.Errorf("a blocked picture: %+v", r)
	}
}

// driveSmall uploads a picture twice.
func (w *world) driveSmall(f *function, q request, body []byte) (id string) {
	w.t.Helper()
	for _, want := range []struct {
		status int
		result string
	}{{201, "created"}, {200, "known"}} {
		f.env.logs.take()
		r := f.ask(q)
		if r.Status != want.status {
			w.t.Fatalf("upload: got %+v, want %d", r, want.status)
		}
		if told, _ := metric(f.env.logs.take(), metrics.Uploads, map[string]string{"Stage": "e2e", "Result": want.result}); told != 1 {
			w.t.Errorf("%d uploads were told as %s, want 1", told, want.result)
		}
		var rec struct{ ID string }
		if err := json.Unmarshal(r.bytes(), &rec); err != nil {
			w.t.Fatal(err)
		}
		id = rec.ID
	}
	return id
}

// driveLarge announces a file, sends it to the store, and completes it; and one that is no picture, which is deleted.
func (w *world) driveLarge(f *function, label pet.Label, auth map[string]string, body []byte) {
	t := w.t
	t.Helper()
	for _, c := range []struct {
		body   []byte
		status int
	}{{body, 201}, {bytes.Repeat([]byte("x"), 100), 415}} {
		announcement, _ := json.Marshal(map[string]any{"label": label, "type": "image/png", "bytes": len(c.body)})
		header := map[string]string{"authorization": auth["authorization"], "content-type": "application/json"}
		r := f.ask(request{method: "POST", path: "/uploads", route: "POST /uploads", header: header, body: announcement})
		var ticket struct {
			Ticket, URL, Complete string
			Headers               map[string]string
		}
		if err := json.Unmarshal(r.bytes(), &ticket); err != nil || r.Status != 201 {
			t.Fatalf("announced: %+v, %v", r, err)
		}
		put, err := http.NewRequestWithContext(t.Context(), "PUT", ticket.URL, bytes.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range ticket.Headers {
			put.Header.Set(name, value)
		}
		resp, err := http.DefaultClient.Do(put)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("PUT to the store: %v, %v", resp, err)
		}
		resp.Body.Close()
		complete := request{
			method: "POST", path: "/uploads/" + ticket.Ticket + "/complete", route: "POST /uploads/{ticket}/complete", header: auth,
			params: map[string]string{"ticket": ticket.Ticket},
		}
		if r := f.ask(complete); r.Status != c.status {
			t.Errorf("completed: got %+v, want %d", r, c.status)
		}
	}
}

// driveRandom draws from nothing, from a tail, and from segments that are not in memory yet, in every format.
func (w *world) driveRandom(f *function, label pet.Label, n int) {
	t := w.t
	t.Helper()
	empty := pet.Labels[len(pet.Labels)-1]
	if s, err := w.indexes()[empty].Stats(t.Context()); err == nil && s.Version == 0 {
		f.draw("label=" + string(empty))
	}
	w.seed(label, n, n+5)
	w.spill(label)
	f.cool() // a new environment has no segment in memory: the first draw reads one record of it
	var ranged, whole int
	f.on(func(c call, r *http.Request) int {
		if strings.Contains(c.resource, "/segments/") {
			if r.Header.Get("Range") != "" {
				ranged++
			} else {
				whole++
			}
		}
		return 0
	})
	for _, format := range []string{"", "&format=json", "&format=text", "&format=image"} {
		if r := f.draw("label=" + string(label) + format); r.Status != 200 && r.Status != 302 {
			t.Errorf("%s%s: got %+v", label, format, r)
		}
	}
	f.on(nil)
	if ranged == 0 {
		t.Errorf("%s: no draw by a ranged read (%d whole ones)", label, whole)
	}
}

// spill brings a label's pictures into segments.
func (w *world) spill(label pet.Label) {
	w.t.Helper()
	w.age(w.photos, string(label), time.Hour)
	if err := w.indexes()[label].Reindex(w.t.Context(), nil, func(int) {}); err != nil {
		w.t.Fatal(err)
	}
	if len(w.keys(w.index, "index/"+string(label)+"/segments/")) == 0 {
		w.t.Fatal("a reindex made no segment")
	}
}

// driveTend leaves an index with everything that upkeep can find: entries in the journal, a removal that was cut short, segments to merge,
// and one that nothing lists.
func (w *world) driveTend(f *function, label pet.Label, n int) {
	t := w.t
	t.Helper()
	ids := w.seed(label, n, n+3)
	w.put(w.index, "index/"+string(label)+"/segments/00000000000000aa")
	w.age(w.index, "index/"+string(label)+"/segments", 48*time.Hour)
	// The removal: its bytes cannot be deleted, so that its intent is left.
	idx := w.failing(label)
	if _, err := idx.Remove(t.Context(), ids[1], true); err == nil {
		t.Fatal("the removal was to be cut short")
	}
	if w.age(w.index, "removals/"+string(label), 2*time.Minute) != 1 {
		t.Fatal("the removal left no intent")
	}
	w.put(w.index, "journal/"+string(label)+"/0123456789abcdef-"+ids[0].String()+"-touch")
	before := w.drawable()
	f.on(w.rival(label, n+3)) // who has to wait for its entry looks whether it is still there
	out := f.warm().invoke(event(t, "schedule", nil), f.timeout())
	if out.Error != nil {
		t.Fatalf("tend: %+v", out.Error)
	}
	log := f.env.logs.take()
	if told, pictures := metric(log, metrics.Pictures, map[string]string{"Stage": "e2e"}); told != 1 || int(pictures) != w.drawable() || w.drawable() != before+1 {
		t.Errorf("tend told %v pictures, there are %d and were %d:\n%s", pictures, w.drawable(), before, strings.Join(log, "\n"))
	}
	if told, backlog := metric(log, metrics.JournalBacklog, nil); told != 1 || backlog != 0 {
		t.Errorf("tend told a backlog of %v, %d times", backlog, told)
	}
	left := append(w.keys(w.index, "journal/"+string(label)), w.keys(w.index, "removals/"+string(label))...)
	if len(left) > 0 || slices.Contains(w.keys(w.index, "index/"), "index/"+string(label)+"/segments/00000000000000aa") {
		t.Errorf("tend left %v", left)
	}
}

// rival uploads a picture just before a function swaps the root for an entry of its own, which then fails: once.
func (w *world) rival(label pet.Label, n int) func(call, *http.Request) int {
	var mu sync.Mutex
	posted, done := false, false
	return func(c call, _ *http.Request) int {
		mu.Lock()
		defer mu.Unlock()
		posted = posted || c.action == "s3:PutObject" && strings.Contains(c.resource, "/journal/")
		if posted && !done && c.action == "s3:PutObject" && strings.HasSuffix(c.resource, "/root") {
			done = true
			w.seed(label, n, n+1)
		}
		return 0
	}
}

func (w *world) drawable() (n int) {
	w.t.Helper()
	for label, idx := range w.indexes() {
		s, err := idx.Stats(w.t.Context())
		if err != nil {
			w.t.Fatalf("%s: %v", label, err)
		}
		n += s.Pictures
	}
	return n
}
