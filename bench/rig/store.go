package rig

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"petpick/src/blob"
	"petpick/src/blob/s3blob"
	"petpick/src/blob/s3server"
	"petpick/src/index"
	"petpick/src/pet"
	"petpick/src/photo/phototest"
)

// The account, and the buckets as `petpick serve` names them.
const (
	AccessKey, SecretKey = "petpick", "of-a-benchmark-on-loopback"
	Photos, Index        = "petpick-photos", "petpick-index"
)

// Store is an S3 server in this process. One at a time can run, and the working directory becomes its own.
type Store struct {
	server *s3server.Server
	proxy  *httptest.Server
	// idle are the connections to the server: it does not end while they are open.
	idle  *http.Transport
	mu    sync.Mutex
	calls map[string]int
}

// OpenStore starts the server over the folder that `petpick serve --data dir` would use, with both buckets.
func OpenStore(ctx context.Context, data string) (*Store, error) {
	server, err := s3server.Start(ctx, s3server.Config{Dir: filepath.Join(data, "s3"), Addr: "127.0.0.1:0", AccessKey: AccessKey, SecretKey: SecretKey})
	if err != nil {
		return nil, err
	}
	st := &Store{server: server, calls: map[string]int{}, idle: &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256, DisableCompression: true}}
	target, err := url.Parse(server.Endpoint)
	if err != nil {
		return nil, err
	}
	// The Host header stays as it was: it is signed.
	forward := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host },
		Transport: st.idle,
	}
	st.proxy = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		st.mu.Lock()
		st.calls[operation(r)]++
		st.mu.Unlock()
		forward.ServeHTTP(w, r)
	}))
	for _, bucket := range []string{Photos, Index} {
		_, err := st.Client().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)})
		var owned *types.BucketAlreadyOwnedByYou
		if err != nil && !errors.As(err, &owned) {
			return nil, errors.Join(err, st.Close())
		}
	}
	return st, nil
}

// operation names a call as S3's price list does, with the part of the bucket that it goes to.
func operation(r *http.Request) string {
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 3)
	method, where := r.Method, strings.TrimPrefix(parts[0], "petpick-")
	if len(parts) < 2 || parts[1] == "" {
		if r.Method == http.MethodGet {
			method = "LIST"
			if prefix, _, _ := strings.Cut(r.URL.Query().Get("prefix"), "/"); prefix != "" {
				where += " " + prefix + "/"
			}
		}
		return method + " " + where
	}
	return method + " " + where + " " + parts[1] + "/"
}

// Endpoint counts what goes through it.
func (st *Store) Endpoint() string { return st.proxy.URL }

// Client has the account's rights; its calls are not counted.
func (st *Store) Client() *s3.Client {
	return s3blob.Client(aws.Config{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider(AccessKey, SecretKey, ""), HTTPClient: &http.Client{Transport: st.idle},
	}, st.server.Endpoint)
}

// Environment lets another process use the server.
func Environment() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + AccessKey, "AWS_SECRET_ACCESS_KEY=" + SecretKey, "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true"}
}

// Calls are those through Endpoint so far.
func (st *Store) Calls() map[string]int {
	st.mu.Lock()
	defer st.mu.Unlock()
	calls := make(map[string]int, len(st.calls))
	for k, n := range st.calls {
		calls[k] = n
	}
	return calls
}

// Close ends both servers.
func (st *Store) Close() error {
	st.proxy.Close()
	st.idle.CloseIdleConnections()
	return st.server.Stop()
}

// Fill makes an index of n cats in a data folder that nobody serves: the service's own reindex writes it, of pictures that exist in
// listings only. A draw redirects to one of them; nobody must follow.
func Fill(ctx context.Context, data string, n int) error {
	st, err := OpenStore(ctx, data)
	if err != nil {
		return err
	}
	x := index.Open(index.Config{Label: "cat", Photos: listing{blob.NewMemory(nil), n}, Index: s3blob.New(st.Client(), Index)})
	var faults int
	err = x.Reindex(ctx, func(index.Fault) { faults++ }, func(int) {})
	if err == nil && faults > 0 {
		err = fmt.Errorf("%d pictures of the synthetic listing are faulty", faults)
	}
	return errors.Join(err, st.Close())
}

// listing is a photos bucket of n cats that have no bytes. Everything else is the store's behind it.
type listing struct {
	blob.Store
	n int
}

const cats = "cat/"

var longAgo = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (l listing) id(i int) pet.ID {
	var id pet.ID
	binary.BigEndian.PutUint64(id[:], uint64(i)<<40|0xABCDEF)
	id[15] = byte(pet.JPEG)
	return id
}

func (l listing) info(i int) blob.Info {
	return blob.Info{
		Key: pet.Key("cat", l.id(i)), ETag: "x", Size: 100_000, Modified: longAgo,
		// Weights from 0.001 to 16.383, as uneven as may be.
		Attr: blob.Attr{Meta: map[string]string{
			"weight": strconv.Itoa(1 + i*7919%16383), "width": "800", "height": "600", "uploaded-at": longAgo.Format(time.RFC3339),
		}},
	}
}

// position is the first picture whose key sorts after a text.
func (l listing) position(after string) int {
	low, high := 0, l.n
	for low < high {
		if mid := (low + high) / 2; pet.Key("cat", l.id(mid)) <= after {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// List implements blob.Store.
func (l listing) List(ctx context.Context, prefix, after string, limit int) (blob.Page, error) {
	if prefix != cats {
		return l.Store.List(ctx, prefix, after, limit)
	}
	var page blob.Page
	i := l.position(after)
	for ; i < l.n && len(page.Objects) < min(limit, 1000); i++ {
		page.Objects = append(page.Objects, l.info(i))
	}
	page.More = i < l.n
	return page, nil
}

// Head implements blob.Store.
func (l listing) Head(ctx context.Context, key string) (blob.Info, error) {
	i := l.position(key) - 1
	if i < 0 || pet.Key("cat", l.id(i)) != key {
		return l.Store.Head(ctx, key)
	}
	return l.info(i), nil
}

// Picture is one that was uploaded.
type Picture struct {
	ID     string  `json:"id"`
	URL    string  `json:"url"`
	Bytes  int     `json:"bytes"`
	Weight float64 `json:"weight"`
}

// Upload sends n generated pictures of a label through the service, each with the weight that is told for it.
func Upload(ctx context.Context, base, token, label string, n, width, height int, weight func(i int) string) ([]Picture, error) {
	pictures := make([]Picture, n)
	var g errgroup.Group
	g.SetLimit(4)
	for i := range pictures {
		g.Go(func() (err error) {
			pictures[i], err = upload(ctx, base, token, label, weight(i), phototest.JPEG(uint64(i)<<8|uint64(label[0]), width, height))
			return err
		})
	}
	return pictures, g.Wait()
}

// upload sends one until it is taken: the API takes no more than so many a second.
func upload(ctx context.Context, base, token, label, weight string, body []byte) (p Picture, err error) {
	for {
		p, status, err := try(ctx, base, token, label, weight, body)
		if status != http.StatusTooManyRequests {
			return p, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return p, ctx.Err()
		}
	}
}

func try(ctx context.Context, base, token, label, weight string, body []byte) (p Picture, status int, err error) {
	address := fmt.Sprintf("%s/upload?label=%s&weight=%s", base, label, weight)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return p, 0, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "image/jpeg")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return p, 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return p, 0, err
	}
	if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK {
		return p, resp.StatusCode, fmt.Errorf("upload: %s: %s", resp.Status, text)
	}
	return p, resp.StatusCode, json.Unmarshal(text, &p)
}
