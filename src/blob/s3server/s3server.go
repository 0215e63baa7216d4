// Package s3server runs an S3 server in this process (versitygw over a folder), for `petpick serve` and for tests that want
// the real protocol. Objects are ordinary files. It is never part of a Lambda.
package s3server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pkg/xattr"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

// Config says where and for whom the server runs.
type Config struct {
	// Dir holds the objects; it is made when missing.
	Dir string
	// Addr is host:port on loopback; port 0 takes a free one.
	Addr string
	// AccessKey and SecretKey are the root account's.
	AccessKey, SecretKey string
}

// Server is a running server.
type Server struct {
	// Endpoint is the base URL for S3 clients, which address buckets by path.
	Endpoint string
	cancel   context.CancelFunc
	done     chan struct{}
	err      error
}

// Start returns when the server answers. One server at a time can run in a process, and the process's working directory
// becomes Dir (both are versitygw's), so callers resolve their relative paths first.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("s3 server: %w", err)
	}
	data := filepath.Join(dir, "buckets")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("s3 server: %w", err)
	}
	// Objects' attributes, their ETags among them, are kept in extended attributes. versitygw can keep them in a folder beside, but
	// not in step with the bytes: compare-and-swaps would be lost.
	if err := xattr.Set(data, "user.petpick.probe", []byte("1")); err != nil {
		return nil, fmt.Errorf("s3 server: the file system of %s has no extended attributes, which it needs: choose another folder: %w", data, err)
	}
	// CopyObjectThreshold is S3's own 5 GiB; zero would make every CopyObject fail.
	backend, err := posix.New(data, foldersStay{}, posix.PosixOpts{CopyObjectThreshold: 5 << 30})
	if err != nil {
		return nil, fmt.Errorf("s3 server: %w", err)
	}
	addr, err := freeAddr(cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("s3 server: %w", err)
	}
	const health = "/petpick-health"
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &Server{Endpoint: "http://" + addr, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = embedgw.RunVersityGW(run, backend, &embedgw.Config{
			// Named, or it would print that there is none.
			IAMService:     auth.NewIAMServiceSingle(auth.Account{Access: cfg.AccessKey, Secret: cfg.SecretKey, Role: auth.RoleAdmin}),
			RootUserAccess: cfg.AccessKey, RootUserSecret: cfg.SecretKey, Region: "us-east-1",
			Ports: []string{addr}, MaxConnections: 4096, MaxRequests: 2048, MultipartMaxParts: 10000,
			KeepAlive: true, Quiet: true, HealthPath: health,
		})
	}()
	if err := s.awaitAnswer(ctx, s.Endpoint+health); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// foldersStay keeps the folders of keys whose last object was deleted. The backend would delete them, other than those that an object was
// put for, which it knows by their ETag; and it answers 409 to a PUT that makes a folder at that moment. So it is told that each has one.
// Listings ask with a slash at the end: to them nothing changes. No key may be what was a folder once; none of petpick's is.
type foldersStay struct{ meta.XattrMeta }

func (m foldersStay) RetrieveAttribute(f *os.File, bucket, object, attribute string) ([]byte, error) {
	v, err := m.XattrMeta.RetrieveAttribute(f, bucket, object, attribute)
	if errors.Is(err, meta.ErrNoSuchKey) && f == nil && attribute == "etag" && object != "" && !strings.HasSuffix(object, "/") {
		if at, err := os.Stat(filepath.Join(bucket, object)); err == nil && at.IsDir() {
			return []byte("folder"), nil
		}
	}
	return v, err
}

// freeAddr replaces port 0 with a port that was free a moment ago.
func freeAddr(addr string) (string, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (s *Server) awaitAnswer(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-s.done:
			return fmt.Errorf("s3 server: stopped before it answered: %w", s.err)
		case <-ctx.Done():
			return fmt.Errorf("s3 server: no answer: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Done is closed when the server has stopped, by itself or by Stop.
func (s *Server) Done() <-chan struct{} { return s.done }

// Stop ends the server and waits for it.
func (s *Server) Stop() error {
	s.cancel()
	<-s.done
	if s.err != nil && !errors.Is(s.err, context.Canceled) {
		return fmt.Errorf("s3 server: %w", s.err)
	}
	return nil
}
