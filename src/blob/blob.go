// Package blob is the object contract that petpick stands on: a few operations of S3, cut by how they behave when two
// callers meet or when an answer is lost. It knows keys, bytes and ETags; it knows nothing of pictures, HTTP or the AWS SDK.
//
// Every write is conditional. There is no plain overwrite, so no caller can lose another's write by accident.
package blob

import (
	"context"
	"errors"
	"time"
)

// What a caller branches on. Any other error means that the request was refused before it had an effect (no permission, no
// such bucket, a malformed key).
var (
	// ErrNotFound: no object has that key.
	ErrNotFound = errors.New("no such object")
	// ErrExists: Create found an object under the key.
	ErrExists = errors.New("object exists")
	// ErrChanged: Swap found another ETag, or no object.
	ErrChanged = errors.New("object changed")
	// ErrNotModified: Get's ETag is still the current one.
	ErrNotModified = errors.New("object not modified")
	// ErrRange: GetRange starts at or after the end of the object.
	ErrRange = errors.New("range outside the object")
	// ErrUnclear: nobody knows whether the write took effect, or will yet: a timeout, a lost connection, a 5xx, a 409. Only
	// reading tells, and only of the moment of the reading: a delayed request may still land afterwards.
	ErrUnclear = errors.New("outcome of the write unclear")
	// ErrUnavailable: the store does not answer, or throttles, or answers 5xx. Writes that fail so are ErrUnclear too.
	ErrUnavailable = errors.New("store unavailable")
)

// Store holds objects under keys. Reads see every write that was acknowledged before they began (S3 has been strongly
// consistent since 2020-12). Implementations are safe for concurrent use, and do not keep or change a body they were given.
type Store interface {
	// Create stores body under a key that has no object (If-None-Match: *).
	//
	// ErrExists: some object is there. Without Attr.Once it may be this very call's: the implementation may have retried
	// after an unclear failure, and the first try had landed. With Attr.Once it is certainly somebody else's.
	// ErrUnclear: the object may be there now, or appear later. Creating again is safe, and ErrExists then proves nothing
	// about who made it: compare the object if that matters.
	Create(ctx context.Context, key string, body []byte, attr Attr) (Info, error)

	// Swap replaces the object whose current ETag is etag (If-Match): compare-and-swap.
	//
	// ErrChanged: it has another ETag, or is gone; nothing was written by this try. Without Attr.Once an earlier try of the
	// same call may have been, so a caller whose bodies are unique reads the object to tell.
	// ErrUnclear: the swap may have happened, and may have been overwritten since. Read, and decide from what is there.
	// ETags can repeat when contents repeat: a body that is swapped carries something unique.
	Swap(ctx context.Context, key, etag string, body []byte, attr Attr) (Info, error)

	// Get returns the whole object; with a non-empty etag that is still current, ErrNotModified.
	Get(ctx context.Context, key, etag string) (Object, error)

	// GetRange returns at most n bytes from offset, fewer at the end of the object. Info.Size is the whole object's size.
	GetRange(ctx context.Context, key string, offset, n int64) (Object, error)

	// Head returns what Get would, without the body.
	Head(ctx context.Context, key string) (Info, error)

	// List returns keys that begin with prefix and sort after after, in byte order, at most limit of them (and at most
	// 1,000). Page.More says whether another call, with the last key as after, would find more. Of an entry only Key, Size,
	// ETag and Modified are set.
	List(ctx context.Context, prefix, after string, limit int) (Page, error)

	// Delete removes an object; to delete what is not there is no error. It makes one attempt: one that is sent again after the
	// process was frozen could land on an object that was made since.
	Delete(ctx context.Context, key string) error

	// DeleteMany deletes any number of keys. On an error any part of them may be gone.
	DeleteMany(ctx context.Context, keys []string) error
}

// Attr is what a write carries beside the body.
type Attr struct {
	ContentType  string
	CacheControl string
	// Meta is user metadata: keys in lower case, values in printable ASCII.
	Meta map[string]string
	// Once makes exactly one attempt: the SDK's own retries are off for this call. A retry that lands late could undo a
	// decision that was taken on the first attempt's failure.
	Once bool
}

// Info describes an object.
type Info struct {
	Key      string
	ETag     string
	Size     int64
	Modified time.Time
	// Date is the store's clock when it answered; zero where an operation does not report it.
	Date time.Time
	Attr Attr
}

// Object is an object, or the part of it that was asked for.
type Object struct {
	Info
	Body []byte
}

// Page is one answer of List.
type Page struct {
	Objects []Info
	More    bool
}
