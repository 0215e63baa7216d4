// Package e2e_test runs the functions' own binaries, built as for deployment, as Lambda would: a process each, under the Runtime API, with the
// environment and the rights that the template gives them, on events as AWS sends them. `make e2e` builds and runs it.
package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// environment is one execution environment: a process that asks the Runtime API for one event after the other.
type environment struct {
	t    *testing.T
	cmd  *exec.Cmd
	logs logs

	ready   chan time.Time // it asked for the next event
	events  chan invocation
	results chan outcome
	exited  chan struct{} // closed when the process has ended
	started time.Time
	asked   time.Time // first
	server  *http.Server
	mu      sync.Mutex
	current string // id of the invocation under way
	serial  int
}

type invocation struct {
	id       string
	event    []byte
	deadline time.Time
}

// outcome is how an invocation ended, as Lambda would tell who invoked.
type outcome struct {
	Response []byte
	// Error is what the function reported, or what Lambda says when it did not.
	Error *functionError
}

type functionError struct {
	ErrorMessage string `json:"errorMessage"`
	ErrorType    string `json:"errorType"`
}

const (
	exitError    = "Runtime.ExitError"
	timeoutError = "Sandbox.Timedout"
)

type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// take returns what was logged since the last call, line by line. What was written before a result was sent is there.
func (l *logs) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Split(strings.TrimRight(l.text.String(), "\n"), "\n")
	l.text.Reset()
	if len(lines) == 1 && lines[0] == "" {
		return nil
	}
	return lines
}

// binary is a bootstrap's path; -bootstraps says where they are.
func binary(function string) string { return filepath.Join(*bootstraps, function, "bootstrap") }

// launch starts a process with this environment and no other.
func launch(t *testing.T, path string, env map[string]string) *environment {
	t.Helper()
	e := &environment{
		t: t, ready: make(chan time.Time, 1), events: make(chan invocation), results: make(chan outcome, 1), exited: make(chan struct{}),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.server = &http.Server{Handler: e.api(), ReadHeaderTimeout: time.Minute}
	go func() { _ = e.server.Serve(l) }()
	e.cmd = exec.Command(path)
	e.cmd.Dir = t.TempDir()
	e.cmd.Env = []string{"AWS_LAMBDA_RUNTIME_API=" + l.Addr().String(), "PATH=/usr/bin:/bin", "TZ=:UTC", "LANG=en_US.UTF-8"}
	for name, value := range env {
		e.cmd.Env = append(e.cmd.Env, name+"="+value)
	}
	// os.Pipe and not a writer: Wait would wait for what a child's child holds; and what the process wrote is read to its end.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	e.cmd.Stdout, e.cmd.Stderr = w, w
	e.started = time.Now()
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	copied := make(chan struct{})
	go func() { defer close(copied); _, _ = io.Copy(&e.logs, r); r.Close() }()
	go func() {
		_ = e.cmd.Wait()
		<-copied
		close(e.exited)
	}()
	t.Cleanup(func() {
		_ = e.cmd.Process.Kill()
		<-e.exited
		e.server.Close()
		if t.Failed() {
			t.Logf("%s wrote since last asked:\n%s", filepath.Base(filepath.Dir(path)), strings.Join(e.logs.take(), "\n"))
		}
	})
	return e
}

// api is the Runtime API, version 2018-06-01.
func (e *environment) api() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, r *http.Request) {
		e.ready <- time.Now()
		select {
		case in := <-e.events:
			h := w.Header()
			h.Set("Content-Type", "application/json")
			h.Set("Lambda-Runtime-Aws-Request-Id", in.id)
			h.Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(in.deadline.UnixMilli()))
			h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:petpick-e2e")
			h.Set("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0")
			_, _ = w.Write(in.event)
		case <-r.Context().Done():
		}
	})
	done := func(parse func(body []byte) outcome) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			e.mu.Lock()
			current := e.current
			e.mu.Unlock()
			if err != nil || r.PathValue("id") != current {
				http.Error(w, `{"errorType":"InvalidRequestID"}`, http.StatusBadRequest)
				return
			}
			w.WriteHeader(http.StatusAccepted)
			e.results <- parse(body)
		}
	}
	failed := func(body []byte) outcome {
		var f functionError
		if err := json.Unmarshal(body, &f); err != nil {
			f = functionError{ErrorType: "not JSON", ErrorMessage: string(body)}
		}
		return outcome{Error: &f}
	}
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", done(func(b []byte) outcome { return outcome{Response: b} }))
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", done(failed))
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", done(failed))
	return mux
}

// init waits for the first call of next, and returns what the start took; an error when the process ended before it.
func (e *environment) init() (time.Duration, error) {
	select {
	case at := <-e.ready:
		e.asked = at
		return at.Sub(e.started), nil
	case <-e.exited:
		return 0, errors.New(exitError)
	case <-time.After(10 * time.Second): // Lambda's own limit
		return 0, errors.New("no call of next within 10 s")
	}
}

// send gives the environment an event; await returns how it ended. At the deadline Lambda ends the process.
func (e *environment) send(event []byte, timeout time.Duration) {
	e.serial++
	in := invocation{fmt.Sprintf("8476a536-e9f4-11e8-9739-%012d", e.serial), event, time.Now().Add(timeout)}
	e.mu.Lock()
	e.current = in.id
	e.mu.Unlock()
	e.events <- in
}

func (e *environment) await(timeout time.Duration) outcome {
	var out outcome
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	select {
	case out = <-e.results:
	case <-e.exited:
		return outcome{Error: &functionError{"RequestId: error: Runtime exited", exitError}}
	case <-deadline.C:
		e.kill(syscall.SIGKILL)
		<-e.exited
		return outcome{Error: &functionError{fmt.Sprintf("Task timed out after %.2f seconds", timeout.Seconds()), timeoutError}}
	}
	select { // it ends when the next event is asked for
	case <-e.ready:
	case <-e.exited:
	}
	return out
}

func (e *environment) invoke(event []byte, timeout time.Duration) outcome {
	e.send(event, timeout)
	return e.await(timeout)
}

func (e *environment) kill(signal syscall.Signal) { _ = e.cmd.Process.Signal(signal) }
