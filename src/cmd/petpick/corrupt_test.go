package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"petpick/src/blob/s3blob"
	"petpick/src/index"
	"petpick/src/index/drawtest"
	"petpick/src/pet"
	"petpick/src/photo/phototest"
)

// The ways in which a stored object can be other than it was written. newer is sound, and of a version that this program cannot know.
var damages = []struct {
	name  string
	newer bool
	done  func(b []byte) []byte
}{
	{"truncated", false, func(b []byte) []byte { return b[:len(b)/2] }},
	{"cut by a byte", false, func(b []byte) []byte { return b[:len(b)-1] }},
	{"a bit flipped", false, func(b []byte) []byte { b[len(b)-40] ^= 1; return b }},
	{"another version by a flipped bit", false, func(b []byte) []byte { b[4] ^= 64; return b }},
	{"empty", false, func([]byte) []byte { return nil }},
	{"not ours", false, func(b []byte) []byte { return bytes.Repeat([]byte("<html>"), len(b)/6+1)[:len(b)] }},
	{"newer", true, func(b []byte) []byte {
		b = append(b[:len(b)-4], "something new"...)
		b[4] = 99
		return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	}},
}

// damaged is a server whose store's objects are damaged, with what its draws have to be.
type damaged struct {
	*server
	data     string
	endpoint string
	cfg      serveConfig
	store    *store
	weights  map[pet.ID]float64
	seed     uint64
}

// startDamaged has 40 dogs in a segment.
func startDamaged(t *testing.T) *damaged {
	t.Helper()
	data := t.TempDir()
	d := &damaged{server: start(t, data), data: data, weights: map[pet.ID]float64{}}
	m := regexp.MustCompile(`AWS_ACCESS_KEY_ID=(\S+) AWS_SECRET_ACCESS_KEY=(\S+)[\s\S]*--endpoint-url (\S+) `).FindStringSubmatch(d.banner)
	t.Setenv("AWS_ACCESS_KEY_ID", m[1])
	t.Setenv("AWS_SECRET_ACCESS_KEY", m[2])
	d.endpoint = m[3]
	d.cfg = serveConfig{s3Endpoint: d.endpoint, region: "us-east-1", photosBucket: "petpick-photos", indexBucket: "petpick-index"}
	var err error
	if d.store, err = openStore(t.Context(), d.cfg); err != nil {
		t.Fatal(err)
	}
	for d.seed < 40 {
		weight := d.seed + 1
		d.know(d.upload(t, "dog", strconv.FormatUint(weight, 10), d.next()).ID, float64(weight))
	}
	d.reindex(t)
	return d
}

// reindex makes the index anew. The photos are first made old, so that it need not wait for entries on their way.
func (d *damaged) reindex(t *testing.T) {
	t.Helper()
	hourAgo := time.Now().Add(-time.Hour)
	err := filepath.WalkDir(filepath.Join(d.data, "s3", "buckets", "petpick-photos", "dog"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return os.Chtimes(path, hourAgo, hourAgo)
	})
	if err != nil {
		t.Fatal(err)
	}
	d.verb(t, 0, "", "reindex")
}

func (d *damaged) next() []byte {
	d.seed++
	return phototest.PNG(d.seed, 6, 6)
}

func (d *damaged) know(id string, weight float64) {
	parsed, err := pet.ParseID(id)
	if err != nil {
		panic(err)
	}
	d.weights[parsed] = weight
}

func (d *damaged) verb(t *testing.T, status int, want string, args ...string) {
	t.Helper()
	cmd := program(append(args, "--s3-endpoint", d.endpoint)...)
	out, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != status || !strings.Contains(string(out), want) {
		t.Errorf("%v: status %d, %v: %s; want %d with %q", args, got, err, out, status, want)
	}
}

func (d *damaged) read(t *testing.T, bucket, key string) []byte {
	t.Helper()
	o, err := s3blob.New(d.store.client, bucket).Get(t.Context(), key, "")
	if err != nil {
		t.Fatal(err)
	}
	return o.Body
}

// overwrite is what no part of the program can do.
func (d *damaged) overwrite(t *testing.T, bucket, key string, body []byte) {
	t.Helper()
	_, err := d.store.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(body)})
	if err != nil {
		t.Fatal(err)
	}
}

func (d *damaged) open() *index.Index {
	return index.Open(index.Config{
		Label: "dog", Photos: s3blob.New(d.store.client, d.cfg.photosBucket), Index: s3blob.New(d.store.client, d.cfg.indexBucket),
	})
}

// segment is the key of the only segment that the root lists, by its name there (FORMAT.md, "Root").
func (d *damaged) segment(t *testing.T) string {
	t.Helper()
	root := d.read(t, d.cfg.indexBucket, "index/dog/root")
	page, err := s3blob.New(d.store.client, d.cfg.indexBucket).List(t.Context(), "index/dog/segments/", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range page.Objects {
		name, err := strconv.ParseUint(o.Key[strings.LastIndexByte(o.Key, '/')+1:], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(root, binary.LittleEndian.AppendUint64(nil, name)) {
			return o.Key
		}
	}
	t.Fatalf("the root lists none of %d segments", len(page.Objects))
	return ""
}

// wantSound: fsck finds nothing, and draws follow the weights.
func (d *damaged) wantSound(t *testing.T) {
	t.Helper()
	d.verb(t, 0, "", "fsck")
	x, rnd, counts := d.open(), rand.NewPCG(d.seed, 1), map[pet.ID]int{}
	for range 100_000 {
		pick, err := x.Draw(context.Background(), rnd)
		if err != nil {
			t.Fatal(err)
		}
		counts[pick.ID]++
	}
	if z := drawtest.Z(counts, d.weights); z > drawtest.MaxZ {
		t.Errorf("z = %.1f: %v of %v", z, counts, d.weights)
	}
}

// wantUnavailable also says that nothing of what is stored, or of how, gets out.
func wantUnavailable(t *testing.T, r reply) {
	t.Helper()
	if wantProblem(t, r, 503, "cannot be read"); r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	for _, internal := range []string{"root", "segment", "verdict", "checksum", "format", "version", "reindex", "index/"} {
		if strings.Contains(string(r.body), internal) {
			t.Errorf("%s tells of %s", r.body, internal)
		}
	}
}

// A root that cannot be read: what is in memory goes on, everything else says that it cannot, nothing is overwritten but by reindex, and
// by that only if a newer program did not write it.
func TestDamagedRoot(t *testing.T) {
	d := startDamaged(t)
	const key = "index/dog/root"
	for _, damage := range damages {
		t.Run(damage.name, func(t *testing.T) {
			hint := "run petpick reindex"
			if damage.newer {
				hint = "upgrade this program"
			}
			if r := d.get(t, "/random?label=dog"); r.status != 302 { // in memory now
				t.Fatalf("before: %d", r.status)
			}
			sound := d.read(t, d.cfg.indexBucket, key)
			bad := damage.done(bytes.Clone(sound))
			d.overwrite(t, d.cfg.indexBucket, key, bad)
			// For longer than a view is fresh, which is a second.
			for until := time.Now().Add(1500 * time.Millisecond); time.Now().Before(until); {
				if r := d.get(t, "/random?label=dog"); r.status != 302 {
					t.Fatalf("from the last view: %d %s", r.status, r.body)
				}
			}
			cold := start(t, t.TempDir(), "--s3-endpoint", d.endpoint)
			for _, path := range []string{"/random?label=dog", "/random?label=dog&format=json", "/stats", "/healthz"} {
				wantUnavailable(t, cold.get(t, path))
			}
			if r := cold.get(t, "/random?label=cat"); r.status != 404 {
				t.Errorf("the other label: %d", r.status)
			}
			image := d.next()
			for _, s := range []*server{cold, d.server} {
				r, err := s.uploadForm("label", "dog", "weight", "3", "image", string(image))
				if err != nil {
					t.Fatal(err)
				}
				wantUnavailable(t, r)
			}
			d.verb(t, 2, hint, "fsck")
			d.verb(t, 2, hint, "fsck", "--repair")
			d.verb(t, 1, hint, "tend")
			if damage.newer {
				d.verb(t, 1, hint, "reindex")
			}
			if got := d.read(t, d.cfg.indexBucket, key); !bytes.Equal(got, bad) {
				t.Errorf("it was overwritten: %d bytes, %q", len(got), got[:min(len(got), 8)])
			}
			if damage.newer {
				d.overwrite(t, d.cfg.indexBucket, key, sound)
			} else {
				d.reindex(t)
			}
			// The upload that was refused was stored, and is what its client asks for again.
			r, err := cold.uploadForm("label", "dog", "weight", "3", "image", string(image))
			if err != nil || r.status != 200 {
				t.Fatalf("again: %d %s %v", r.status, r.body, err)
			}
			d.know(decode[record](t, r.body).ID, 3)
			d.wantSound(t)
			cold.interrupt(t)
			if log := cold.log.String(); !strings.Contains(log, hint) || strings.Contains(log, "panic") {
				t.Errorf("its log should say %q: %s", hint, log)
			}
		})
	}
}

// A segment that cannot be read: as with the root, but that what is not in it can be drawn and uploaded.
func TestDamagedSegment(t *testing.T) {
	d := startDamaged(t)
	for _, damage := range damages {
		t.Run(damage.name, func(t *testing.T) {
			d.reindex(t) // a new one, that nobody has in memory
			key := d.segment(t)
			sound := d.read(t, d.cfg.indexBucket, key)
			bad := damage.done(bytes.Clone(sound))
			d.overwrite(t, d.cfg.indexBucket, key, bad)
			cold := start(t, t.TempDir(), "--s3-endpoint", d.endpoint)
			// One record of many may be sound, or look so; it ends when the segment was read as a whole, behind the first draw.
			r := cold.get(t, "/random?label=dog")
			for until := time.Now().Add(10 * time.Second); r.status == 302 && time.Now().Before(until); {
				r = cold.get(t, "/random?label=dog")
			}
			for range 20 {
				wantUnavailable(t, r)
				r = cold.get(t, "/random?label=dog")
			}
			image := d.next()
			rec := decode[record](t, mustUpload(t, cold, image).body)
			d.know(rec.ID, 1)
			d.verb(t, 2, "run petpick reindex", "fsck")
			if got := d.read(t, d.cfg.indexBucket, key); !bytes.Equal(got, bad) {
				t.Errorf("it was overwritten: %d bytes, %q", len(got), got[:min(len(got), 8)])
			}
			d.reindex(t)
			d.wantSound(t)
		})
	}
}

func mustUpload(t *testing.T, s *server, image []byte) reply {
	t.Helper()
	r, err := s.uploadForm("label", "dog", "image", string(image))
	if err != nil || r.status != 201 {
		t.Fatalf("upload: %d %s %v", r.status, r.body, err)
	}
	return r
}

// A verdict that cannot be read hides what was decided: the picture is drawn as it was, is not touched, and is left out of a new index
// until a person has looked.
func TestDamagedVerdict(t *testing.T) {
	d := startDamaged(t)
	image := d.next()
	rec := decode[record](t, mustUpload(t, d.server, image).body)
	id, err := pet.ParseID(rec.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.open().Set(t.Context(), id, 5000); err != nil {
		t.Fatal(err)
	}
	d.know(rec.ID, 5)
	d.wantSound(t)
	key := "verdicts/dog/" + rec.ID
	sound := d.read(t, d.cfg.photosBucket, key)
	for _, damage := range damages {
		t.Run(damage.name, func(t *testing.T) {
			bad := damage.done(bytes.Clone(sound))
			d.overwrite(t, d.cfg.photosBucket, key, bad)
			if r := d.get(t, "/random?label=dog"); r.status != 302 {
				t.Errorf("draw: %d", r.status)
			}
			wantUnavailable(t, d.get(t, "/pets/dog/"+rec.ID))
			r, err := d.uploadForm("label", "dog", "image", string(image))
			if err != nil {
				t.Fatal(err)
			}
			wantUnavailable(t, r)
			if damage.newer {
				d.verb(t, 2, "upgrade this program", "fsck", "--repair")
				d.verb(t, 1, "upgrade this program", "reindex")
			} else {
				d.verb(t, 1, "fault dog/"+rec.ID, "fsck", "--repair")
				d.verb(t, 1, "fault dog/"+rec.ID, "reindex")
			}
			d.verb(t, 0, "", "tend")
			if got := d.read(t, d.cfg.photosBucket, key); !bytes.Equal(got, bad) {
				t.Errorf("it was overwritten: %d bytes, %q", len(got), got[:min(len(got), 8)])
			}
			d.overwrite(t, d.cfg.photosBucket, key, sound)
			d.verb(t, 0, "", "fsck", "--repair")
			d.wantSound(t)
		})
	}
}
