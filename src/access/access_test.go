package access_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"petpick/src/access"
)

// shelf is a store that can be made to fail or to wait, and counts.
type shelf struct {
	mu     sync.Mutex
	tokens []access.Token
	faults []error
	err    error
	wait   chan struct{}
	calls  atomic.Int64
}

func (s *shelf) List(ctx context.Context) ([]access.Token, []error, error) {
	s.calls.Add(1)
	s.mu.Lock()
	tokens, faults, err, wait := slices.Clone(s.tokens), s.faults, s.err, s.wait
	s.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	return tokens, faults, err
}

func (s *shelf) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *shelf) issue(t *testing.T, name string, good time.Duration, scopes ...access.Scope) (access.Token, string) {
	t.Helper()
	tok, text, err := access.New(name, scopes, good, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.set(func() { s.tokens = append(s.tokens, tok) })
	return tok, text
}

var text32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// forge is a well-formed token of the id, with a secret that nobody was given.
func forge(id string) string {
	var random [32]byte
	_, _ = rand.Read(random[:])
	body := "pet_" + id + "_" + text32.EncodeToString(random[:])
	return body + text32.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(body))))
}

func randomID() string {
	var random [5]byte
	_, _ = rand.Read(random[:])
	return text32.EncodeToString(random[:])
}

func want(t *testing.T, k *access.Keyring, text string, scope access.Scope, who string, err error) {
	t.Helper()
	got, gotErr := k.Allow(t.Context(), text, scope)
	if !errors.Is(gotErr, err) || err == nil && got != who {
		t.Errorf("at %s, %s: got %q, %v; want %q, %v", time.Now().Format(time.TimeOnly), scope, got, gotErr, who, err)
	}
}

func TestWhatATokenOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		k := access.NewKeyring(access.Config{Store: s, Known: access.Dev()})
		up, upText := s.issue(t, "an uploader", 0, access.Upload)
		cur, curText := s.issue(t, "a curator", 0, access.Curate)
		both, bothText := s.issue(t, "ann", time.Hour, access.Curate, access.Upload, access.Upload)
		want(t, k, upText, access.Upload, up.ID+" an uploader", nil)
		want(t, k, curText, access.Curate, cur.ID+" a curator", nil)
		want(t, k, bothText, access.Upload, both.ID+" ann", nil)
		want(t, k, bothText, access.Curate, both.ID+" ann", nil)
		want(t, k, "dev", access.Curate, "dev", nil)
		for text, scope := range map[string]access.Scope{upText: access.Curate, curText: access.Upload} {
			var lacking *access.ScopeError
			if _, err := k.Allow(t.Context(), text, scope); !errors.As(err, &lacking) || lacking.Missing != scope || lacking.Who == "" {
				t.Errorf("%s: got %v", scope, err)
			}
		}
		want(t, k, "", access.Upload, "", access.ErrNone)
		// One error for the caller; for the log, four that are told apart.
		time.Sleep(59 * time.Minute)
		want(t, k, bothText, access.Upload, both.ID+" ann", nil)
		time.Sleep(time.Minute)
		for text, why := range map[string]string{
			bothText: "has expired", forge(up.ID): "the secret is not", forge(randomID()): "never issued", "devx": "malformed", upText + " ": "malformed", upText[1:]: "malformed",
		} {
			_, err := k.Allow(t.Context(), text, access.Upload)
			if !errors.Is(err, access.ErrUnknown) || !strings.Contains(err.Error(), why) {
				t.Errorf("got %v, want %q", err, why)
				continue
			}
			if secret := text[len(text)/2:]; strings.Contains(err.Error(), secret) {
				t.Errorf("the error has the secret: %v", err)
			}
		}
	})
}

// Nothing but what New made gets as far as a look-up.
func TestMistypedTokens(t *testing.T) {
	s := &shelf{}
	k := access.NewKeyring(access.Config{Store: s})
	_, text := s.issue(t, "x", 0, access.Upload)
	wrong := []string{"pet_", "pet__", "pet_" + strings.Repeat("_", 76), strings.Repeat("a", 80), strings.ToUpper(text), "pat" + text[3:], text + text, strings.Repeat("x", 1<<20), "\x00", "\xff"}
	for i := range text {
		for _, c := range []byte("abcdefghijklmnopqrstuvwxyz0123456789_-A \x00\xff") {
			if c != text[i] {
				wrong = append(wrong, text[:i]+string([]byte{c})+text[i+1:])
			}
			wrong = append(wrong, text[:i]+string([]byte{c})+text[i:])
		}
		wrong = append(wrong, text[:i]+text[i+1:], text[:i])
		if i > 0 && text[i] != text[i-1] {
			wrong = append(wrong, text[:i-1]+text[i:i+1]+text[i-1:i]+text[i+1:])
		}
	}
	for _, w := range wrong {
		if _, err := k.Allow(t.Context(), w, access.Upload); err == nil || s.calls.Load() > 0 {
			t.Fatalf("%q for %q: %v, %d look-ups", w, text, err, s.calls.Load())
		}
	}
	if _, err := k.Allow(t.Context(), text, access.Upload); err != nil || s.calls.Load() != 1 {
		t.Errorf("the token itself: %v, %d look-ups", err, s.calls.Load())
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		scopes []access.Scope
		good   time.Duration
	}{
		{"", []access.Scope{"upload"}, 0}, {" x", []access.Scope{"upload"}, 0}, {"two\nlines", []access.Scope{"upload"}, 0}, {"nul\x00", []access.Scope{"upload"}, 0},
		{"\xff", []access.Scope{"upload"}, 0}, {strings.Repeat("x", 65), []access.Scope{"upload"}, 0}, {"\u202etxt", []access.Scope{"upload"}, 0},
		{"x", nil, 0}, {"x", []access.Scope{"admin"}, 0}, {"x", []access.Scope{""}, 0}, {"x", []access.Scope{"upload"}, -1},
	} {
		if _, text, err := access.New(c.name, c.scopes, c.good, time.Now()); err == nil || text != "" {
			t.Errorf("%+v: made %q", c, text)
		}
	}
	// The longest name still fits an SSM parameter.
	tok, _, err := access.New(strings.Repeat("猫", 64), access.Scopes, time.Hour, time.Now())
	if data, errEnc := tok.Encode(); err != nil || errEnc != nil || len(data) > access.MaxRecord {
		t.Errorf("%d bytes, %v, %v", len(data), err, errEnc)
	}
}

// However many tokens it is shown, the store is asked once a minute.
func TestFloodOfUnknownTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		k := access.NewKeyring(access.Config{Store: s})
		_, good := s.issue(t, "x", 0, access.Upload)
		for minute := range int64(5) {
			var flood sync.WaitGroup
			for range 50 {
				flood.Go(func() {
					for range 40 {
						want(t, k, forge(randomID()), access.Upload, "", access.ErrUnknown)
					}
				})
			}
			flood.Wait()
			if _, err := k.Allow(t.Context(), good, access.Upload); err != nil {
				t.Error(err)
			}
			if got := s.calls.Load(); got != minute+1 {
				t.Errorf("minute %d: %d listings", minute, got)
			}
			time.Sleep(access.Lag)
		}
	})
}

func TestRevokedAndNewTokensWithinTheLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		k := access.NewKeyring(access.Config{Store: s})
		tok, text := s.issue(t, "x", 0, access.Upload)
		want(t, k, text, access.Upload, tok.Who(), nil)
		s.set(func() { s.tokens = nil })
		tok2, text2 := s.issue(t, "y", 0, access.Upload)
		time.Sleep(access.Lag - time.Nanosecond)
		want(t, k, text, access.Upload, tok.Who(), nil)
		want(t, k, text2, access.Upload, "", access.ErrUnknown)
		time.Sleep(time.Nanosecond)
		want(t, k, text, access.Upload, "", access.ErrUnknown)
		want(t, k, text2, access.Upload, tok2.Who(), nil)
		if got := s.calls.Load(); got != 2 {
			t.Errorf("%d listings, want 2", got)
		}
	})
}

// While the store fails, the last list is good for 15 minutes; then nobody gets in, and nobody is told that a token is bad.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &shelf{}
		k := access.NewKeyring(access.Config{Store: s, Log: slog.New(slog.NewJSONHandler(&log, nil))})
		tok, text := s.issue(t, "x", 0, access.Upload)
		s.set(func() { s.err = errors.New("outage") })
		want(t, k, text, access.Upload, "", access.ErrUnavailable) // nothing was ever listed
		want(t, k, forge(randomID()), access.Upload, "", access.ErrUnavailable)
		want(t, k, "garbage", access.Upload, "", access.ErrUnknown)
		if got := s.calls.Load(); got != 1 {
			t.Errorf("%d listings right after a failure, want 1", got)
		}
		s.set(func() { s.err = nil })
		time.Sleep(5 * time.Second)
		want(t, k, text, access.Upload, tok.Who(), nil)
		began := time.Now()
		s.set(func() { s.err = errors.New("outage") })
		for time.Since(began) < 15*time.Minute {
			want(t, k, text, access.Upload, tok.Who(), nil)
			time.Sleep(time.Second)
		}
		want(t, k, text, access.Upload, "", access.ErrUnavailable)
		want(t, k, forge(randomID()), access.Upload, "", access.ErrUnavailable)
		// 14 minutes of one attempt each five seconds.
		if got := s.calls.Load(); got > 2+14*12+2 {
			t.Errorf("%d listings", got)
		}
		s.set(func() { s.err = nil })
		time.Sleep(5 * time.Second)
		want(t, k, text, access.Upload, tok.Who(), nil)
		if !strings.Contains(log.String(), `"level":"ERROR","msg":"tokens were not listed","error":"outage"`) {
			t.Errorf("the log does not say so: %s", log.String())
		}
	})
}

func TestOneListingAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{wait: make(chan struct{})}
		k := access.NewKeyring(access.Config{Store: s})
		tok, text := s.issue(t, "x", 0, access.Upload)
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() { // the first to ask goes away: that must not end the listing for the others
			if _, err := k.Allow(impatient, text, access.Upload); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
		synctest.Wait()
		for range 100 {
			all.Go(func() { want(t, k, text, access.Upload, tok.Who(), nil) })
		}
		time.Sleep(2 * time.Second)
		close(s.wait)
		all.Wait()
		if got := s.calls.Load(); got != 1 {
			t.Errorf("%d listings", got)
		}
		// With a list, even an old one, a slow store costs a request a second and no more.
		s.set(func() { s.wait = make(chan struct{}) })
		time.Sleep(2 * access.Lag)
		for range 3 {
			began := time.Now()
			want(t, k, text, access.Upload, tok.Who(), nil)
			if took := time.Since(began); took > time.Second {
				t.Errorf("it took %v", took)
			}
		}
		// And without one, five.
		k = access.NewKeyring(access.Config{Store: s})
		began := time.Now()
		want(t, k, text, access.Upload, "", access.ErrUnavailable)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("a store that does not answer: %v", took)
		}
		time.Sleep(time.Minute) // all listings have ended
	})
}

// A listing that a Lambda was frozen in is as old as its beginning, and a clock may be set.
func TestWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var jump atomic.Int64
		s := &shelf{wait: make(chan struct{})}
		k := access.NewKeyring(access.Config{Store: s, Now: func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }})
		tok, text := s.issue(t, "x", 0, access.Upload)
		done := make(chan struct{})
		go func() { _, _ = k.Allow(t.Context(), text, access.Upload); close(done) }()
		synctest.Wait()
		jump.Store(int64(time.Hour)) // frozen with the listing under way, which then ends as if nothing had been
		s.set(func() { close(s.wait); s.wait, s.tokens = nil, nil })
		<-done
		want(t, k, text, access.Upload, "", access.ErrUnknown)
		if got := s.calls.Load(); got != 2 {
			t.Errorf("%d listings, want 2: the first is an hour old", got)
		}
		s.set(func() { s.tokens = []access.Token{tok} })
		jump.Store(0) // set back by an hour: not for an hour is the list taken for new
		want(t, k, text, access.Upload, tok.Who(), nil)
	})
}

func TestFaultsAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &shelf{faults: []error{errors.New("half a file")}}
		k := access.NewKeyring(access.Config{Store: s, Log: slog.New(slog.NewJSONHandler(&log, nil))})
		tok, text := s.issue(t, "x", 0, access.Upload)
		for range 3 {
			want(t, k, text, access.Upload, tok.Who(), nil)
			time.Sleep(access.Lag)
		}
		if got := strings.Count(log.String(), "half a file"); got != 1 || s.calls.Load() != 3 {
			t.Errorf("%d lines for %d listings: %s", got, s.calls.Load(), log.String())
		}
	})
}

func FuzzDecode(f *testing.F) {
	tok, _, err := access.New("x", access.Scopes, time.Hour, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	data, err := tok.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, tok.ID)
	f.Add([]byte(`{"id":"aaaaaaaa"}`), "aaaaaaaa")
	f.Fuzz(func(t *testing.T, data []byte, id string) {
		tok, err := access.Decode(data, id)
		if err != nil {
			return
		}
		again, err := tok.Encode()
		if err != nil {
			t.Fatalf("%q was accepted, and cannot be stored: %v", data, err)
		}
		if tok2, err := access.Decode(again, id); err != nil || tok2.Who() != tok.Who() || tok2.SHA256 != tok.SHA256 || !tok2.Expires.Equal(tok.Expires) {
			t.Fatalf("%q became %q: %v", data, again, err)
		}
	})
}
