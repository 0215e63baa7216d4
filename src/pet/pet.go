// Package pet names things: the labels, a picture's id and type, a weight, and the key of a picture's bytes. The words are the
// same in URLs, in the bucket and in the index; this is the only place that spells them.
package pet

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Errors that a caller's input meets; the text is fit for the caller.
var (
	ErrLabel  = errors.New("label must be exactly cat or dog")
	ErrWeight = errors.New("weight must be a number from 0 to 16777.215 with at most three decimals, such as 2.5")
	ErrID     = errors.New("not a picture's id")
)

// Label is the kind of animal that a picture shows.
type Label string

// Labels are all there are. The template's cache behaviours and bucket policy name them too; a test holds the two together.
var Labels = [...]Label{"cat", "dog"}

// ParseLabel accepts the exact spelling only.
func ParseLabel(s string) (Label, error) {
	for _, l := range Labels {
		if s == string(l) {
			return l, nil
		}
	}
	return "", ErrLabel
}

// Type is a picture's encoding. The values are stored in ids: they never change.
type Type uint8

// The types that are served.
const (
	JPEG Type = 1
	PNG  Type = 2
	WebP Type = 3
)

var types = [16]struct{ ext, media string }{
	JPEG: {"jpg", "image/jpeg"},
	PNG:  {"png", "image/png"},
	WebP: {"webp", "image/webp"},
}

// Known says whether t is one of the types above.
func (t Type) Known() bool { return int(t) < len(types) && types[t].ext != "" }

// Ext is the file name extension without dot.
func (t Type) Ext() string { return types[t].ext }

// MediaType is the Content-Type.
func (t Type) MediaType() string { return types[t].media }

// IsMediaType says whether a Content-Type is that of a type that is served.
func IsMediaType(s string) bool {
	return s != "" && slices.ContainsFunc(types[:], func(t struct{ ext, media string }) bool { return t.media == s })
}

// ID names a picture by its content: the first 16 bytes of the SHA-256 of the stored bytes, with the type in the last four bits.
// 124 bits of hash: among a billion pictures two share an id with a probability of about 2e-20.
type ID [16]byte

// NewID makes the id of bytes whose SHA-256 is sum.
func NewID(sum [32]byte, t Type) ID {
	id := ID(sum[:16])
	id[15] = id[15]&0xF0 | byte(t)
	return id
}

// ParseID reads 32 lower-case hexadecimal digits whose last names a known type.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return ID{}, ErrID
	}
	for i := range s {
		if s[i] >= 'A' && s[i] <= 'F' { // one spelling for one picture: caches and logs compare text
			return ID{}, ErrID
		}
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil || !id.Type().Known() {
		return ID{}, ErrID
	}
	return id, nil
}

// Type is the encoding of the picture that id names.
func (id ID) Type() Type { return Type(id[15] & 0x0F) }

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Key is where a picture's bytes are in the photos bucket, and with a slash before it the path that serves them.
func Key(l Label, id ID) string { return string(l) + "/" + id.String() + "." + id.Type().Ext() }

// ParseKey is the reverse of Key.
func ParseKey(key string) (Label, ID, error) {
	label, name, _ := strings.Cut(key, "/")
	l, err := ParseLabel(label)
	if err != nil {
		return "", ID{}, err
	}
	name, _, _ = strings.Cut(name, ".")
	id, err := ParseID(name)
	if err == nil && Key(l, id) != key {
		err = ErrID
	}
	return l, id, err
}

// Weight is a picture's share in the draw, counted in thousandths: integers keep the draw exact.
type Weight uint32

// MaxWeight is 16777.215. A weight fits 24 bits, so that a million of them fit 44.
const MaxWeight Weight = 1<<24 - 1

// DefaultWeight is 1.
const DefaultWeight Weight = 1000

// ParseWeight reads the decimal notation ^(0|[1-9][0-9]{0,4})(\.[0-9]{1,3})?$, at most 16777.215.
func ParseWeight(s string) (Weight, error) {
	var n, i int
	for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		n = n*10 + int(s[i]-'0')
		if i >= 5 {
			return 0, ErrWeight
		}
	}
	if i == 0 || i > 1 && s[0] == '0' {
		return 0, ErrWeight
	}
	n *= 1000
	if i < len(s) {
		decimals := s[i+1:]
		if s[i] != '.' || len(decimals) < 1 || len(decimals) > 3 {
			return 0, ErrWeight
		}
		for unit, j := 100, 0; j < len(decimals); unit, j = unit/10, j+1 {
			if decimals[j] < '0' || decimals[j] > '9' {
				return 0, ErrWeight
			}
			n += unit * int(decimals[j]-'0')
		}
	}
	if n > int(MaxWeight) {
		return 0, ErrWeight
	}
	return Weight(n), nil
}

// String is the shortest notation that ParseWeight reads back.
func (w Weight) String() string { return Thousandths(w) }

// MarshalJSON writes a JSON number, exactly.
func (w Weight) MarshalJSON() ([]byte, error) { return []byte(w.String()), nil }

// Thousandths writes a count of thousandths as a decimal number: a weight, or a sum of weights.
func Thousandths[T ~uint32 | ~uint64](n T) string {
	s := fmt.Sprintf("%d.%03d", n/1000, n%1000)
	for s[len(s)-1] == '0' {
		s = s[:len(s)-1]
	}
	if s[len(s)-1] == '.' {
		s = s[:len(s)-1]
	}
	return s
}

// Compare orders ids by their bytes, as their spelling is ordered.
func Compare(a, b ID) int { return bytes.Compare(a[:], b[:]) }
