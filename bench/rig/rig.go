// Package rig sets up what is measured: `petpick serve` as a process of its own, an S3 server whose calls are counted, pictures, and
// an index of as many as one likes. All of it is on loopback.
package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Within runs what may be interrupted, and takes no longer than that.
func Within(limit time.Duration, do func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %v", limit))
	defer cancel()
	err := do(ctx)
	if err != nil && ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	return err
}

// Command is one that is asked to end when the context does, and has time to write what it knows.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 15 * time.Second
	return cmd
}

// Process is a program that is measured while it runs.
type Process struct {
	cmd  *exec.Cmd
	done chan error
	log  bytes.Buffer
}

// Run starts a program; cores pins it, such as "0", and is "" for all. env is added to this process's own.
func Run(cores string, env []string, name string, args ...string) (*Process, error) {
	if cores != "" {
		name, args = "taskset", append([]string{"-c", cores, name}, args...)
	}
	p := &Process{cmd: exec.Command(name, args...), done: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = io.Discard, &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.done <- p.cmd.Wait() }()
	return p, nil
}

// Stop asks the program to end, waits, and kills it when it does not.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-p.done: // how it ended is not asked: by the signal
		p.done <- err
		return nil
	case <-time.After(20 * time.Second):
		return errors.Join(fmt.Errorf("%s did not end by itself", p.cmd.Path), p.cmd.Process.Kill())
	}
}

// Await returns when the address answers with a status below 500, or says why it never will.
func (p *Process) Await(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode < 500 {
				return nil
			}
		}
		select {
		case err := <-p.done:
			p.done <- err
			return fmt.Errorf("%s ended before it answered: %w\n%s", strings.Join(p.cmd.Args, " "), err, p.log.String())
		case <-ctx.Done():
			return fmt.Errorf("%s: no answer from %s", strings.Join(p.cmd.Args, " "), url)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Usage is what a process has taken so far, and holds now.
type Usage struct {
	At          time.Time
	CPU         time.Duration // user and system, of all its threads
	Resident    int64         // bytes
	Peak        int64         // bytes
	Descriptors int
}

// Usage reads /proc.
func (p *Process) Usage() (Usage, error) {
	dir := fmt.Sprintf("/proc/%d", p.cmd.Process.Pid)
	u := Usage{At: time.Now()}
	// Not the times in stat, which are counted in ticks of 10 ms: the start of a function takes less. Go's threads do not end before the process.
	threads, err := filepath.Glob(dir + "/task/*/schedstat")
	if err == nil && len(threads) == 0 {
		err = fmt.Errorf("%s has no threads with a schedstat", dir)
	}
	if err != nil {
		return u, err
	}
	for _, name := range threads {
		stat, err := os.ReadFile(name)
		if err != nil {
			return u, err
		}
		var ns int64
		if _, err := fmt.Sscan(string(stat), &ns); err != nil {
			return u, err
		}
		u.CPU += time.Duration(ns)
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		var kilobytes int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kilobytes); err == nil {
			u.Resident = kilobytes << 10
		}
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); err == nil {
			u.Peak = kilobytes << 10
		}
	}
	open, err := os.ReadDir(dir + "/fd")
	u.Descriptors = len(open)
	return u, err
}

// FreeAddr is an address on loopback that nothing listened on a moment ago.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Service is `petpick serve`.
type Service struct {
	*Process
	URL string
	// S3Endpoint is that of the embedded server, if it has one.
	S3Endpoint string
}

// Serve starts the program at binary over a data folder, with further flags. What it logs of requests that went well is left out, as
// the deployed random function leaves it out.
func Serve(ctx context.Context, binary, data, cores string, env []string, flags ...string) (*Service, error) {
	addr, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	s3Addr, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	args := append([]string{"serve", "--addr", addr, "--data", data, "--log-level", "warn", "--s3-addr", s3Addr}, flags...)
	p, err := Run(cores, env, binary, args...)
	if err != nil {
		return nil, err
	}
	s := &Service{p, "http://" + addr, "http://" + s3Addr}
	if err := p.Await(ctx, s.URL+"/healthz"); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return s, nil
}
