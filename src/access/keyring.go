package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// What a Keyring does in time.
const (
	// Lag is how old a list may be: for so long a new token is not known yet, and a revoked one still opens.
	Lag = time.Minute
	// staleTime is how long, when the store fails, the last list stands in for it. After that nobody gets in.
	staleTime = 15 * time.Minute
	// listTime bounds a listing, and patience how long a request waits for one when there is a list, though a stale one.
	listTime = 5 * time.Second
	patience = time.Second
	// pause is the least time from a listing that failed to the next.
	pause = 5 * time.Second
)

// lister is where tokens are kept. faults are records that could not be read: they open nothing, and hold up no other.
type lister interface {
	List(ctx context.Context) (tokens []Token, faults []error, err error)
}

// Keyring knows the tokens of a store. It asks the store for all of them at most once a Lag, whatever tokens it is shown, and is safe for
// concurrent use. Ages are taken by the wall clock: a Lambda is frozen between requests, and monotonic time with it.
type Keyring struct {
	store lister
	known Tokens
	lag   time.Duration
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	tokens  map[string]Token // by id; nil before the first listing
	read    time.Time        // when the listing of tokens began
	failed  time.Time        // when the last listing failed
	failure error
	flight  chan struct{} // of the listing under way: closed when it ends
	faults  string        // that were logged
}

// Config is what a Keyring needs.
type Config struct {
	Store lister
	// Known are tokens beside those of the store: only `petpick serve`, on loopback, has any.
	Known Tokens
	// Lag is the constant when 0. A store that costs nothing can do with less.
	Lag time.Duration
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// NewKeyring returns the keyring of a store, which is first asked when the first token is shown.
func NewKeyring(c Config) *Keyring {
	k := &Keyring{store: c.Store, known: c.Known, lag: c.Lag, now: c.Now, log: c.Log}
	if k.lag == 0 {
		k.lag = Lag
	}
	if k.now == nil {
		k.now = time.Now
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	return k
}

// Allow returns what logs call the token's holder. Errors are ErrNone, ErrUnknown, *ScopeError, ErrUnavailable, and the context's.
func (k *Keyring) Allow(ctx context.Context, text string, scope Scope) (string, error) {
	if who, err := k.known.Allow(ctx, text, scope); !errors.Is(err, ErrUnknown) {
		return who, err
	}
	id, ok := parse(text)
	if !ok {
		return "", fmt.Errorf("%w: it is malformed", ErrUnknown)
	}
	tokens, err := k.list(ctx)
	if err != nil {
		return "", err
	}
	t, known := tokens[id]
	hash := sha256.Sum256([]byte(text))
	switch same := subtle.ConstantTimeCompare(t.SHA256[:], hash[:]) == 1; {
	case !known:
		return "", fmt.Errorf("%w: %s is revoked, or was never issued", ErrUnknown, id)
	case !same:
		return "", fmt.Errorf("%w: the secret is not that of %s", ErrUnknown, t.Who())
	case t.Expired(k.now()):
		return "", fmt.Errorf("%w: %s has expired at %s", ErrUnknown, t.Who(), t.Expires.Format(time.RFC3339))
	}
	return Grant{t.Who(), t.Scopes}.allow(scope)
}

// list returns tokens that are not older than the lag; when the store fails, or is slow, than staleTime.
func (k *Keyring) list(ctx context.Context) (map[string]Token, error) {
	// As of its arrival: a listing that began later is good for this request, however long it takes.
	arrived := k.wall()
	for {
		k.mu.Lock()
		tokens, age := k.tokens, arrived.Sub(k.read)
		// A list from the future: the clock was set back. What its age is nobody knows.
		known := tokens != nil && age > -time.Minute
		if known && age < k.lag {
			k.mu.Unlock()
			return tokens, nil
		}
		usable := known && age < staleTime
		if since := k.wall().Sub(k.failed); k.flight == nil && since >= 0 && since < pause {
			err := k.failure
			k.mu.Unlock()
			if usable {
				return tokens, nil
			}
			return nil, err
		}
		if k.flight == nil {
			k.flight = make(chan struct{})
			go k.refresh(k.flight)
		}
		flight := k.flight
		k.mu.Unlock()
		if done, err := wait(ctx, flight, usable); err != nil {
			return nil, err
		} else if !done {
			return tokens, nil
		}
	}
}

// wait returns true when the listing ended, and false when there was something to do without it and it took too long.
func wait(ctx context.Context, flight <-chan struct{}, usable bool) (bool, error) {
	var late <-chan time.Time
	if usable {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-flight:
		return true, nil
	case <-late:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// refresh asks the store, once, for everybody who waits: not under the context of a request, which may end before the others'.
func (k *Keyring) refresh(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), listTime)
	defer cancel()
	began := k.wall()
	list, faults, err := k.store.List(ctx)
	tokens := make(map[string]Token, len(list))
	for _, t := range list {
		tokens[t.ID] = t
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.flight = nil
	close(done)
	if err != nil {
		if k.wall().Sub(began) > 2*listTime {
			return // the function was frozen meanwhile: what that has to say is old, and who waits asks anew
		}
		k.failed, k.failure = k.wall(), fmt.Errorf("%w: %w", ErrUnavailable, err)
		k.log.Error("tokens were not listed", slog.Any("error", err), slog.Bool("known", k.tokens != nil), slog.Time("last_listed", k.read))
		return
	}
	k.tokens, k.read, k.failed = tokens, began, time.Time{}
	k.logFaults(errors.Join(faults...))
}

// logFaults says the same only once.
func (k *Keyring) logFaults(faults error) {
	text := fmt.Sprint(faults)
	if faults != nil && text != k.faults {
		k.log.Warn("stored tokens that cannot be read open nothing", slog.Any("error", faults))
	}
	k.faults = text
}

func (k *Keyring) wall() time.Time { return k.now().Round(0) }
