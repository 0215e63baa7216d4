// Package s3blob is blob.Store over one S3 bucket, by aws-sdk-go-v2. It knows S3's statuses and the SDK's retries, and
// nothing of what the objects mean.
package s3blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"petpick/src/blob"
)

// Store is a bucket. It is safe for concurrent use.
type Store struct {
	client *s3.Client
	bucket string
}

// New returns the bucket as a store.
func New(client *s3.Client, bucket string) *Store {
	return &Store{client: client, bucket: bucket}
}

// Client returns an S3 client. endpoint is empty for AWS itself; another server is addressed by path, since its buckets have
// no host names of their own.
func Client(cfg aws.Config, endpoint string) *s3.Client {
	return s3.NewFromConfig(cfg, func(o *s3.Options) {
		// Reads are checked by our own checksums and by decoding; the SDK would warn about every object that has none.
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
		if endpoint != "" {
			o.BaseEndpoint = aws.String(endpoint)
			o.UsePathStyle = true
		}
	})
}

func once(o *s3.Options) { o.Retryer = aws.NopRetryer{} }

// Create implements blob.Store.
func (s *Store) Create(ctx context.Context, key string, body []byte, attr blob.Attr) (blob.Info, error) {
	in := &s3.PutObjectInput{IfNoneMatch: aws.String("*")}
	return s.put(ctx, "create", in, key, body, attr, map[int]error{http.StatusPreconditionFailed: blob.ErrExists})
}

// Swap implements blob.Store.
func (s *Store) Swap(ctx context.Context, key, etag string, body []byte, attr blob.Attr) (blob.Info, error) {
	in := &s3.PutObjectInput{IfMatch: aws.String(etag)}
	// 404: If-Match on a key without object.
	return s.put(ctx, "swap", in, key, body, attr, map[int]error{http.StatusPreconditionFailed: blob.ErrChanged, http.StatusNotFound: blob.ErrChanged})
}

func (s *Store) put(ctx context.Context, op string, in *s3.PutObjectInput, key string, body []byte, attr blob.Attr, lost map[int]error) (blob.Info, error) {
	in.Bucket, in.Key, in.Body, in.Metadata = &s.bucket, &key, bytes.NewReader(body), attr.Meta
	in.ContentLength = aws.Int64(int64(len(body)))
	if attr.ContentType != "" {
		in.ContentType = &attr.ContentType
	}
	if attr.CacheControl != "" {
		in.CacheControl = &attr.CacheControl
	}
	var opts []func(*s3.Options)
	if attr.Once {
		opts = append(opts, once)
	}
	out, err := s.client.PutObject(ctx, in, opts...)
	if err != nil {
		return blob.Info{}, s.writeError(op, key, err, lost)
	}
	attr.Once = false
	return blob.Info{Key: key, ETag: aws.ToString(out.ETag), Size: int64(len(body)), Date: date(out.ResultMetadata), Attr: attr}, nil
}

// Get implements blob.Store.
func (s *Store) Get(ctx context.Context, key, etag string) (blob.Object, error) {
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: &key}
	if etag != "" {
		in.IfNoneMatch = &etag
	}
	return s.get(ctx, in)
}

// GetRange implements blob.Store.
func (s *Store) GetRange(ctx context.Context, key string, offset, n int64) (blob.Object, error) {
	if offset < 0 || n <= 0 {
		return blob.Object{}, fmt.Errorf("get %s/%s, %d bytes from %d: %w", s.bucket, key, n, offset, blob.ErrRange)
	}
	return s.get(ctx, &s3.GetObjectInput{
		Bucket: &s.bucket, Key: &key,
		Range: aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+min(n-1, math.MaxInt64-offset))),
	})
}

func (s *Store) get(ctx context.Context, in *s3.GetObjectInput) (blob.Object, error) {
	out, err := s.client.GetObject(ctx, in)
	if err != nil {
		return blob.Object{}, s.readError("get", *in.Key, err)
	}
	defer out.Body.Close()
	body, err := readBody(out.Body, out.ContentLength)
	if err != nil {
		return blob.Object{}, fmt.Errorf("get %s/%s: body: %w: %w", s.bucket, *in.Key, blob.ErrUnavailable, err)
	}
	size := int64(len(body))
	if _, total, partial := strings.Cut(aws.ToString(out.ContentRange), "/"); partial {
		if size, err = strconv.ParseInt(total, 10, 64); err != nil {
			return blob.Object{}, fmt.Errorf("get %s/%s: Content-Range %q: %w", s.bucket, *in.Key, *out.ContentRange, blob.ErrUnavailable)
		}
	}
	return blob.Object{Body: body, Info: blob.Info{
		Key: *in.Key, ETag: aws.ToString(out.ETag), Size: size, Modified: aws.ToTime(out.LastModified), Date: date(out.ResultMetadata),
		Attr: blob.Attr{ContentType: aws.ToString(out.ContentType), CacheControl: aws.ToString(out.CacheControl), Meta: out.Metadata},
	}}, nil
}

// maxObject is more than any object of ours: a segment of the index has 50 MB, a picture as much. It bounds what a broken server can
// make us allocate.
const maxObject = 256 << 20

// readBody reads a body into one allocation of the announced length: io.ReadAll would grow through twice that.
func readBody(r io.Reader, length *int64) ([]byte, error) {
	switch n := aws.ToInt64(length); {
	case n > maxObject:
		return nil, fmt.Errorf("%d bytes are more than any object of ours", n)
	case length != nil && n >= 0:
		body := make([]byte, n)
		_, err := io.ReadFull(r, body)
		return body, err
	}
	body, err := io.ReadAll(io.LimitReader(r, maxObject+1))
	if err == nil && len(body) > maxObject {
		err = errors.New("more bytes than any object of ours has")
	}
	return body, err
}

// Head implements blob.Store.
func (s *Store) Head(ctx context.Context, key string) (blob.Info, error) {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return blob.Info{}, s.readError("head", key, err)
	}
	return blob.Info{
		Key: key, ETag: aws.ToString(out.ETag), Size: aws.ToInt64(out.ContentLength), Modified: aws.ToTime(out.LastModified), Date: date(out.ResultMetadata),
		Attr: blob.Attr{ContentType: aws.ToString(out.ContentType), CacheControl: aws.ToString(out.CacheControl), Meta: out.Metadata},
	}, nil
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) (blob.Page, error) {
	in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix, MaxKeys: aws.Int32(int32(min(limit, 1000)))}
	if after != "" {
		in.StartAfter = &after
	}
	out, err := s.client.ListObjectsV2(ctx, in)
	if err != nil {
		return blob.Page{}, s.readError("list", prefix, err)
	}
	page := blob.Page{More: aws.ToBool(out.IsTruncated)}
	for _, o := range out.Contents {
		page.Objects = append(page.Objects, blob.Info{
			Key: aws.ToString(o.Key), ETag: aws.ToString(o.ETag), Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified),
		})
	}
	return page, nil
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key}, once)
	if err == nil || status(err) == http.StatusNotFound && code(err) != "NoSuchBucket" {
		return nil
	}
	return s.writeError("delete", key, err, nil)
}

// Presign returns a URL that one PUT of an object may be sent to for a while, and the headers that it must have: a PUT of other length,
// type or metadata is not what was signed, and one onto an object that is there fails.
func (s *Store) Presign(ctx context.Context, key string, size int64, attr blob.Attr, good time.Duration) (string, map[string]string, error) {
	signed, err := s3.NewPresignClient(s.client).PresignPutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &key, ContentLength: &size, ContentType: &attr.ContentType, Metadata: attr.Meta, IfNoneMatch: aws.String("*"),
	}, s3.WithPresignExpires(good), func(o *s3.PresignOptions) {
		o.ClientOptions = append(o.ClientOptions, func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired })
	})
	if err != nil {
		return "", nil, fmt.Errorf("presign %s/%s: %w", s.bucket, key, err)
	}
	header := map[string]string{}
	for name := range signed.SignedHeader {
		if name != "Host" {
			header[strings.ToLower(name)] = signed.SignedHeader.Get(name)
		}
	}
	return signed.URL, header, nil
}

// Purge deletes every version of an object, and the marks of its deletions: without versions there is nothing to do.
func (s *Store) Purge(ctx context.Context, key string) error {
	pages := s3.NewListObjectVersionsPaginator(s.client, &s3.ListObjectVersionsInput{Bucket: &s.bucket, Prefix: &key})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return s.readError("versions of", key, err)
		}
		var ids []*string
		for _, v := range page.Versions {
			if aws.ToString(v.Key) == key {
				ids = append(ids, v.VersionId)
			}
		}
		for _, m := range page.DeleteMarkers {
			if aws.ToString(m.Key) == key {
				ids = append(ids, m.VersionId)
			}
		}
		for _, id := range ids {
			if _, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key, VersionId: id}); err != nil {
				return s.writeError("purge", key, err, nil)
			}
		}
	}
	return nil
}

// DeleteMany implements blob.Store.
func (s *Store) DeleteMany(ctx context.Context, keys []string) error {
	const most = 1000 // DeleteObjects takes no more
	for len(keys) > 0 {
		n := min(most, len(keys))
		batch := &types.Delete{Quiet: aws.Bool(true)}
		for _, key := range keys[:n] {
			batch.Objects = append(batch.Objects, types.ObjectIdentifier{Key: aws.String(key)})
		}
		out, err := s.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &s.bucket, Delete: batch})
		if err != nil {
			return s.writeError("delete", keys[0]+"…", err, nil)
		}
		if len(out.Errors) > 0 {
			e := out.Errors[0]
			err := fmt.Errorf("delete %s/%s and %d more: %s: %s", s.bucket, aws.ToString(e.Key), len(out.Errors)-1, aws.ToString(e.Code), aws.ToString(e.Message))
			if c := aws.ToString(e.Code); c == "InternalError" || c == "SlowDown" || c == "ServiceUnavailable" {
				err = fmt.Errorf("%w: %w: %w", blob.ErrUnclear, blob.ErrUnavailable, err)
			}
			return err
		}
		keys = keys[n:]
	}
	return nil
}

func (s *Store) readError(op, key string, err error) error {
	kind := failure(err)
	switch status(err) {
	case http.StatusNotFound:
		kind = blob.ErrNotFound
		if code(err) == "NoSuchBucket" { // a wrong setting, not a missing object
			kind = nil
		}
	case http.StatusNotModified:
		kind = blob.ErrNotModified
	case http.StatusRequestedRangeNotSatisfiable:
		if op == "get" {
			kind = blob.ErrRange
		}
	}
	return s.wrap(op, key, kind, err)
}

// writeError says what is known of the write. lost is what the statuses mean that say that a condition did not hold.
func (s *Store) writeError(op, key string, err error, lost map[int]error) error {
	kind := failure(err)
	switch st := status(err); {
	case code(err) == "NoSuchBucket":
		kind = nil
	case lost[st] != nil:
		kind = lost[st]
	case st == http.StatusConflict:
		// S3's ConditionalRequestConflict: another write of this key was under way. Which of them won is for reading to tell.
		kind = blob.ErrUnclear
	case kind != nil:
		kind = fmt.Errorf("%w: %w", blob.ErrUnclear, kind)
	}
	return s.wrap(op, key, kind, err)
}

func (s *Store) wrap(op, key string, kind, err error) error {
	if kind == nil {
		return fmt.Errorf("%s %s/%s: %w", op, s.bucket, key, err)
	}
	return fmt.Errorf("%s %s/%s: %w: %w", op, s.bucket, key, kind, err)
}

// failure is ErrUnavailable where the store did not give a final answer, and nil where it refused the request.
func failure(err error) error {
	switch st := status(err); {
	case st < 300: // never answered (0), or answered with success in a way that cannot be read
		return blob.ErrUnavailable
	case st == http.StatusNotImplemented: // it never will
		return nil
	case st >= 500, st == http.StatusTooManyRequests, st == http.StatusRequestTimeout, code(err) == "RequestTimeout":
		return blob.ErrUnavailable
	}
	return nil
}

func status(err error) int {
	var re *awshttp.ResponseError
	if errors.As(err, &re) {
		return re.HTTPStatusCode()
	}
	return 0
}

func code(err error) string {
	var ae smithy.APIError
	if errors.As(err, &ae) {
		return ae.ErrorCode()
	}
	return ""
}

// date is the store's clock, from the Date header; zero when it sent none.
func date(md middleware.Metadata) time.Time {
	t, _ := awsmiddleware.GetServerTime(md)
	return t
}
