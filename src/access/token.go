package access

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A token is `pet_<id>_<secret><check>`, such as pet_q3zt7k2a_…: id is 5 random bytes, secret 32, check the CRC-32 of all before it, each in
// lower-case base32. A CRC-32 finds every error within 32 bits, such as a wrong or two exchanged characters, and lets one in 4 billion of
// anything else pass: what does not come from New is refused here, without asking anybody.
const (
	prefix     = "pet_"
	idChars    = 8                        // 5 bytes
	bodyChars  = len(prefix) + 8 + 1 + 52 // what is checked: 256 bits take 52 characters
	tokenChars = bodyChars + 7            // 32 bits take 7

	maxName = 64
	// MaxRecord is the most that a stored token can have in bytes: an SSM parameter has 4 KB.
	MaxRecord = 4 << 10
)

var text32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Hash is the SHA-256 of a token. Of 256 random bits it is no secret: nothing can be tried out against it.
type Hash [sha256.Size]byte

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) {
		return errors.New("not a SHA-256")
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// Token is what is kept of a token.
type Token struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"` // whose it is, in the words of who made it
	SHA256  Hash      `json:"sha256"`
	Scopes  []Scope   `json:"scopes"`
	Created time.Time `json:"created_at"`
	Expires time.Time `json:"expires_at,omitzero"` // zero: never
}

// Expired says whether its time is over.
func (t Token) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// Who is what logs call the holder: the id first, for a name may be anything.
func (t Token) Who() string { return t.ID + " " + t.Name }

// New makes a token that expires after so long, 0 for never, and returns what to keep of it and its text, which exists nowhere else.
func New(name string, scopes []Scope, good time.Duration, now time.Time) (t Token, text string, err error) {
	var random [5 + 32]byte
	_, _ = rand.Read(random[:])
	id := text32.EncodeToString(random[:5])
	text = prefix + id + "_" + text32.EncodeToString(random[5:])
	text += check(text)
	now = now.UTC().Truncate(time.Second)
	t = Token{ID: id, Name: name, SHA256: sha256.Sum256([]byte(text)), Scopes: slices.Compact(slices.Sorted(slices.Values(scopes))), Created: now}
	switch {
	case good < 0:
		return Token{}, "", errors.New("the token would have expired before it was made")
	case good > 0:
		t.Expires = now.Add(good)
	}
	if err := t.validate(id); err != nil {
		return Token{}, "", err
	}
	return t, text, nil
}

func check(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	return text32.EncodeToString([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

// parse returns the id in a token's text, if it is well-formed.
func parse(text string) (id string, ok bool) {
	if len(text) != tokenChars || check(text[:bodyChars]) != text[bodyChars:] || !strings.HasPrefix(text, prefix) {
		return "", false
	}
	id = text[len(prefix):][:idChars]
	return id, IsID(id) && text[len(prefix)+idChars] == '_'
}

// IsID says whether a text can be a token's id. One that can is safe in a file's or parameter's name.
func IsID(s string) bool {
	return len(s) == idChars && strings.IndexFunc(s, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '2' || c > '7') }) < 0
}

// validate refuses what New would not make: a record that somebody wrote by hand, or that belongs to another id, opens nothing.
func (t Token) validate(id string) error {
	switch {
	case t.ID != id || !IsID(id):
		return fmt.Errorf("%q is not the id %q", t.ID, id)
	case t.Name == "" || utf8.RuneCountInString(t.Name) > maxName || strings.TrimSpace(t.Name) != t.Name ||
		strings.ContainsFunc(t.Name, func(c rune) bool { return !unicode.IsPrint(c) }) || !utf8.ValidString(t.Name):
		return fmt.Errorf("the name %q is not 1 to %d printable characters", t.Name, maxName)
	case len(t.Scopes) == 0:
		return errors.New("there are no scopes")
	case t.SHA256 == Hash{}:
		return errors.New("there is no hash")
	case t.Created.IsZero():
		return errors.New("there is no time of creation")
	}
	for _, s := range t.Scopes {
		if !slices.Contains(Scopes, s) {
			return fmt.Errorf("%q is not a scope: they are %q", s, Scopes)
		}
	}
	return nil
}

// Encode is the stored form of a token.
func (t Token) Encode() ([]byte, error) {
	if err := t.validate(t.ID); err != nil {
		return nil, err
	}
	return json.Marshal(t)
}

// Decode reads the stored form of the token that has this id. A field that is not known here might be a restriction: such a record is
// refused, too.
func Decode(data []byte, id string) (Token, error) {
	var t Token
	in := json.NewDecoder(bytes.NewReader(data))
	in.DisallowUnknownFields()
	if err := in.Decode(&t); err != nil {
		return Token{}, err
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return Token{}, errors.New("something follows the record")
	}
	return t, t.validate(id)
}
