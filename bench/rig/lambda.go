package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Function is what the template says of a Lambda.
type Function struct {
	MemoryMB int
	Timeout  time.Duration
	GoLimit  string // GOMEMLIMIT
}

// Functions reads the template's Lambdas, by their logical ids.
func Functions(template []byte) (map[string]Function, error) {
	var doc struct {
		Resources map[string]struct {
			Type       string    `yaml:"Type"`
			Properties yaml.Node `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(template, &doc); err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	functions := map[string]Function{}
	for id, r := range doc.Resources {
		if r.Type != "AWS::Lambda::Function" {
			continue
		}
		var p struct {
			MemorySize  int `yaml:"MemorySize"`
			Timeout     int `yaml:"Timeout"`
			Environment struct {
				Variables map[string]any `yaml:"Variables"`
			} `yaml:"Environment"`
		}
		if err := r.Properties.Decode(&p); err != nil {
			return nil, fmt.Errorf("template: %s: %w", id, err)
		}
		limit, _ := p.Environment.Variables["GOMEMLIMIT"].(string)
		functions[id] = Function{p.MemorySize, time.Duration(p.Timeout) * time.Second, limit}
	}
	return functions, nil
}

// Lambda is one execution environment: a bootstrap and the Runtime API that it talks to. One invocation at a time, as
// on AWS.
type Lambda struct {
	*Process
	// Init is the time from the start of the process to its first question for work.
	Init    time.Duration
	api     *httptest.Server
	next    chan invocation
	answers chan result
	timeout time.Duration
}

type invocation struct {
	id    string
	event []byte
}

type result struct {
	at   time.Time
	body []byte
	err  error
}

// StartLambda runs a bootstrap.
func StartLambda(ctx context.Context, bootstrap string, f Function, env []string) (*Lambda, error) {
	l := &Lambda{next: make(chan invocation), answers: make(chan result, 1), timeout: f.Timeout}
	ready := make(chan time.Time, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, r *http.Request) {
		select {
		case ready <- time.Now():
		default:
		}
		select {
		case in := <-l.next:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", in.id)
			w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(l.timeout).UnixMilli()))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:petpick")
			_, _ = w.Write(in.event)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/{outcome}", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && r.PathValue("outcome") == "error" {
			err = fmt.Errorf("the function failed: %s", body)
		}
		l.answers <- result{time.Now(), body, err}
		w.WriteHeader(http.StatusAccepted)
	})
	l.api = httptest.NewServer(mux)
	env = append(env, "AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(l.api.URL, "http://"), "GOMEMLIMIT="+f.GoLimit)
	began := time.Now()
	var err error
	if l.Process, err = Run("", env, bootstrap); err != nil {
		return nil, err
	}
	select {
	case at := <-ready:
		l.Init = at.Sub(began)
		return l, nil
	case err := <-l.done:
		return nil, errors.Join(l.ended(err), l.Close())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), l.Close())
	}
}

// Invoke hands an event over and returns the answer, and the time between the two as the Runtime API sees it.
func (l *Lambda) Invoke(ctx context.Context, event any) (answer []byte, took time.Duration, err error) {
	body, err := json.Marshal(event)
	if err != nil {
		return nil, 0, err
	}
	select {
	case l.next <- invocation{"00000000-0000-0000-0000-000000000000", body}:
	case err := <-l.done:
		return nil, 0, l.ended(err)
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	began := time.Now()
	select {
	case r := <-l.answers:
		return r.body, r.at.Sub(began), r.err
	case err := <-l.done:
		err = l.ended(err)
		select {
		case r := <-l.answers: // its last words
			return r.body, r.at.Sub(began), r.err
		default:
			return nil, 0, err
		}
	case <-time.After(l.timeout):
		return nil, 0, fmt.Errorf("no answer within %v\n%s", l.timeout, l.log.String())
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
}

// ended is the error of a bootstrap that is no more, and leaves that to be read again.
func (l *Lambda) ended(err error) error {
	l.done <- err
	return fmt.Errorf("%s ended by itself, %v\n%s", l.cmd.Path, l.cmd.ProcessState, l.log.String())
}

// Close ends the environment.
func (l *Lambda) Close() error {
	l.api.CloseClientConnections()
	err := l.Process.Stop()
	l.api.Close()
	return err
}
