package access_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"petpick/src/access"
	"petpick/src/access/ssmtest"
	"petpick/src/access/ssmtokens"
)

type store interface {
	List(ctx context.Context) ([]access.Token, []error, error)
	Create(ctx context.Context, t access.Token) error
	Delete(ctx context.Context, id string) error
}

// awsAt is a configuration for an emulator: all as on AWS, but that a retry does not wait.
func awsAt(url string) aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff, o.MaxAttempts = time.Millisecond, 5 })
		},
	}
}

// moto starts the independent emulator, where it is installed.
func moto(t *testing.T) string {
	t.Helper()
	exe, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("SSM against an independent emulator needs moto_server: pip install 'moto[server]'")
	}
	cmd := exec.Command(exe, "-H", "127.0.0.1", "-p", "0")
	cmd.Env = append(os.Environ(), "PYTHONUNBUFFERED=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what is installed may be a script that starts the server
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	at := make(chan string, 1)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		running := regexp.MustCompile(`Running on (http://127\.0\.0\.1:\d+)`)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := running.FindStringSubmatch(lines.Text()); m != nil {
				at <- m[1]
			}
		}
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-drained
		_ = cmd.Wait()
	})
	select {
	case url := <-at:
		return url
	case <-drained:
		t.Fatal("moto_server ended by itself")
	case <-time.After(2 * time.Minute):
		t.Fatal("moto_server does not start")
	}
	return ""
}

// One contract for the folder, for SSM as the fake has it, and for SSM as others understand it.
func TestStores(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) store{
		"folder": func(t *testing.T) store { return access.NewFolder(filepath.Join(t.TempDir(), "deep", "tokens")) },
		"ssm":    func(t *testing.T) store { return ssmtokens.New(awsAt(ssmtest.Start(t).URL), "/petpick/test/tokens/") },
		"moto":   func(t *testing.T) store { return ssmtokens.New(awsAt(moto(t)), "/petpick/test/tokens") },
	} {
		t.Run(name, func(t *testing.T) { testStore(t, open(t)) })
	}
}

func fresh(t *testing.T, name string) access.Token {
	t.Helper()
	tok, _, err := access.New(name, access.Scopes, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func list(t *testing.T, s store) map[string]access.Token {
	t.Helper()
	tokens, faults, err := s.List(t.Context())
	if err != nil || len(faults) > 0 {
		t.Fatalf("list: %v, %v", faults, err)
	}
	byID := map[string]access.Token{}
	for _, tok := range tokens {
		byID[tok.ID] = tok
	}
	if len(byID) != len(tokens) {
		t.Errorf("%d tokens of %d ids", len(tokens), len(byID))
	}
	return byID
}

func testStore(t *testing.T, s store) {
	if got := list(t, s); len(got) != 0 {
		t.Fatalf("at first: %v", got)
	}
	// Several people at once: nobody's is lost.
	made := map[string]access.Token{}
	var mu sync.Mutex
	var people sync.WaitGroup
	for person := range 4 {
		people.Go(func() {
			for i := range 8 {
				tok := fresh(t, fmt.Sprintf("person %d's %d", person, i))
				if err := s.Create(t.Context(), tok); err != nil {
					t.Error(err)
				}
				mu.Lock()
				made[tok.ID] = tok
				mu.Unlock()
			}
		})
	}
	people.Wait()
	got := list(t, s)
	for id, tok := range made {
		if g := got[id]; g.Who() != tok.Who() || g.SHA256 != tok.SHA256 || !slices.Equal(g.Scopes, tok.Scopes) || !g.Created.Equal(tok.Created) || !g.Expires.Equal(tok.Expires) {
			t.Errorf("got %+v, want %+v", g, tok)
		}
	}
	if len(got) != 32 {
		t.Errorf("%d tokens, want 32", len(got))
	}
	// One id for two: the first has it.
	twice := fresh(t, "the first")
	if err := s.Create(t.Context(), twice); err != nil {
		t.Error(err)
	}
	other := twice
	other.Name = "the second"
	if err := s.Create(t.Context(), other); !errors.Is(err, access.ErrExists) {
		t.Errorf("an id that is taken: %v", err)
	}
	if g := list(t, s)[twice.ID]; g.Name != "the first" {
		t.Errorf("it is %q's now", g.Name)
	}
	if err := s.Delete(t.Context(), twice.ID); err != nil {
		t.Error(err)
	}
	for _, id := range []string{twice.ID, randomID(), "", "../stack", "UPPERCAS", strings.Repeat("a", 2000)} {
		if err := s.Delete(t.Context(), id); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("deleting %.20q: %v", id, err)
		}
	}
	if got := list(t, s); len(got) != 32 {
		t.Errorf("afterwards %d tokens, want 32", len(got))
	}
	if err := s.Create(t.Context(), access.Token{ID: "../stack", Name: "x"}); err == nil {
		t.Error("a record that New would not make was stored")
	}
}

// damaged are records that must open nothing, by the id that they are stored under.
func damaged(t *testing.T) map[string]string {
	tok := fresh(t, "good once")
	data, err := tok.Encode()
	if err != nil {
		t.Fatal(err)
	}
	good, foreign := string(data), randomID()
	edit := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%s has no %s", good, old)
		}
		return strings.Replace(good, old, new, 1)
	}
	named := func(id, record string) string { return strings.Replace(record, tok.ID, id, 1) }
	records := map[string]string{foreign: good}
	for _, record := range []string{
		"", "{", "null", "[]", "garbage", good[:len(good)/2], good + good, edit(`"id"`, `"for_cats_only":true,"id"`), edit(`"curate"`, `"admin"`), edit(`["curate","upload"]`, `[]`),
		edit(`"sha256":"`, `"sha256":"00`), edit(`good once`, ``), edit(`"created_at"`, `"made_at"`), strings.Repeat(" ", access.MaxRecord) + good,
	} {
		id := randomID()
		records[id] = named(id, record)
	}
	return records
}

func TestDamagedRecords(t *testing.T) {
	dir := t.TempDir()
	fake := ssmtest.Start(t)
	records := damaged(t)
	for id, record := range records {
		if err := os.WriteFile(filepath.Join(dir, id+".json"), []byte(record), 0o600); err != nil {
			t.Fatal(err)
		}
		if len(record) <= access.MaxRecord { // SSM has no larger ones
			fake.Set("/t/"+id, record)
		}
	}
	fake.Set("/t/not-an-id", "x")
	fake.Set("/t/deeper/"+randomID(), "x") // not asked for
	fake.Set("/token", "x")
	for _, err := range []error{
		os.WriteFile(filepath.Join(dir, "README"), nil, 0o600), os.WriteFile(filepath.Join(dir, ".new-123"), []byte("{"), 0o600),
		os.Mkdir(filepath.Join(dir, "folder.json"), 0o700), syscall.Mkfifo(filepath.Join(dir, "pipe.json"), 0o600),
		os.Symlink("nowhere", filepath.Join(dir, "link.json")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		s      store
		faults int
	}{"folder": {access.NewFolder(dir), len(records) + 2}, "ssm": {ssmtokens.New(awsAt(fake.URL), "/t"), len(records)}} {
		tok := fresh(t, "sound")
		if err := c.s.Create(t.Context(), tok); err != nil {
			t.Fatal(err)
		}
		tokens, faults, err := c.s.List(t.Context())
		if err != nil || len(tokens) != 1 || tokens[0].ID != tok.ID || len(faults) != c.faults {
			t.Errorf("%s: %d tokens and %d faults, %v; want the sound one and %d:\n%v", name, len(tokens), len(faults), err, c.faults, errors.Join(faults...))
		}
	}
}

func TestFolderIsItsOwners(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	f := access.NewFolder(dir)
	tok := fresh(t, "x")
	if err := f.Create(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v, %v: want the one file", entries, err)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o700 | os.ModeDir, filepath.Join(dir, tok.ID+".json"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	// One that is no folder is an error, and not a folder without tokens.
	if _, _, err := access.NewFolder(filepath.Join(dir, tok.ID+".json")).List(t.Context()); err == nil {
		t.Error("a file was listed as a folder")
	}
}

func TestThrottledSSM(t *testing.T) {
	fake := ssmtest.Start(t)
	s := ssmtokens.New(awsAt(fake.URL), "/petpick/dev/tokens")
	for i := range 35 {
		if err := s.Create(t.Context(), fresh(t, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	// Every second call is refused: the SDK repeats it.
	var n atomic.Int64
	fake.Hook(func(string) (string, bool) {
		if n.Add(1)%2 == 1 {
			return "ThrottlingException", false
		}
		return "", false
	})
	if got := list(t, s); len(got) != 35 {
		t.Errorf("%d tokens, want 35", len(got))
	}
	// 35 are 4 pages, with 3 empty ones between them, each asked for twice.
	if got := fake.Calls("GetParametersByPath"); got != 2*7 {
		t.Errorf("%d calls, want 14", got)
	}
	tok := fresh(t, "throttled")
	if err := s.Create(t.Context(), tok); err != nil {
		t.Error(err)
	}
	if err := s.Delete(t.Context(), tok.ID); err != nil {
		t.Error(err)
	}
	// Throttled in the middle of a listing, and for good: half a list is no list, for who is missing in it would count as revoked.
	n.Store(0)
	fake.Hook(func(string) (string, bool) {
		if n.Add(1) > 2 {
			return "ThrottlingException", false
		}
		return "", false
	})
	tokens, _, err := s.List(t.Context())
	var throttled interface{ ErrorCode() string }
	if len(tokens) > 0 || !errors.As(err, &throttled) || throttled.ErrorCode() != "ThrottlingException" {
		t.Errorf("got %d tokens, %v", len(tokens), err)
	}
	k := access.NewKeyring(access.Config{Store: s})
	if _, err := k.Allow(t.Context(), forge(randomID()), access.Upload); !errors.Is(err, access.ErrUnavailable) {
		t.Errorf("the keyring of a throttled store: %v", err)
	}
}

// An answer that was lost is asked for again by the SDK: what was done the first time must not look like somebody else's doing.
func TestLostAnswers(t *testing.T) {
	fake := ssmtest.Start(t)
	s := ssmtokens.New(awsAt(fake.URL), "/petpick/dev/tokens")
	lose := func() func(string) (string, bool) {
		var once atomic.Bool
		return func(string) (string, bool) { return "", once.CompareAndSwap(false, true) }
	}
	tok := fresh(t, "x")
	fake.Hook(lose())
	if err := s.Create(t.Context(), tok); err != nil || fake.Calls("PutParameter") != 2 {
		t.Errorf("create: %v after %d calls", err, fake.Calls("PutParameter"))
	}
	fake.Hook(lose())
	if err := s.Delete(t.Context(), tok.ID); !errors.Is(err, access.ErrNotFound) || fake.Calls("DeleteParameter") != 2 {
		t.Errorf("delete: %v after %d calls", err, fake.Calls("DeleteParameter"))
	}
	if got := list(t, s); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// What SSM is asked to store is a String that nothing overwrites, as an emulator that is not ours sees it.
func TestMotoHoldsStrings(t *testing.T) {
	cfg := awsAt(moto(t))
	tok := fresh(t, "x")
	if err := ssmtokens.New(cfg, "/petpick/dev/tokens").Create(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	out, err := ssm.NewFromConfig(cfg).GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/petpick/dev/tokens/" + tok.ID)})
	if err != nil || out.Parameter.Type != types.ParameterTypeString || out.Parameter.Version != 1 || !strings.Contains(*out.Parameter.Value, tok.ID) {
		t.Errorf("got %+v, %v", out, err)
	}
}
