// Package ssmtest is as much of SSM's Parameter Store as petpick calls, for tests: its JSON protocol, pages of ten, throttling, lost answers.
package ssmtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Server is a Parameter Store in memory.
type Server struct {
	URL string

	mu     sync.Mutex
	params map[string]string
	calls  map[string]int
	hook   func(op string) (before string, lost bool)
}

// Start returns a store that ends with the test.
func Start(t *testing.T) *Server {
	s := &Server{params: map[string]string{}, calls: map[string]int{}}
	http := httptest.NewServer(s)
	t.Cleanup(http.Close)
	s.URL = http.URL
	return s
}

// Hook sets what happens to a call: before is the code of the error that it fails with, such as ThrottlingException, without being done;
// lost makes it fail with a 500 after it was done. nil is nothing.
func (s *Server) Hook(hook func(op string) (before string, lost bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

// Calls is the number of calls of an operation so far, those that failed included.
func (s *Server) Calls(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[op]
}

// Set sets a parameter.
func (s *Server) Set(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.params[name] = value
}

type input struct {
	Name, Value, Path, NextToken, Type string
	MaxResults                         int
	Overwrite                          bool
}

type parameter struct{ Name, Value, Type string }

type fault struct {
	Type    string `json:"__type"`
	Message string `json:"message"`
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "AmazonSSM.")
	body, err := io.ReadAll(r.Body)
	var in input
	if err == nil {
		err = json.Unmarshal(body, &in)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[op]++
	answer := func(status int, v any) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	before, lost := "", false
	if s.hook != nil {
		before, lost = s.hook(op)
	}
	switch {
	case err != nil || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "):
		answer(http.StatusBadRequest, fault{Type: "ValidationException", Message: fmt.Sprint("unsigned, or not JSON: ", err)})
		return
	case before != "":
		answer(http.StatusBadRequest, fault{Type: before, Message: "on purpose"})
		return
	}
	out, refused := s.do(op, in)
	switch {
	case lost:
		answer(http.StatusInternalServerError, fault{Type: "InternalServerError", Message: "the answer was lost"})
	case refused != "":
		answer(http.StatusBadRequest, fault{Type: refused})
	default:
		answer(http.StatusOK, out)
	}
}

func (s *Server) do(op string, in input) (out map[string]any, refused string) {
	value, there := s.params[in.Name]
	switch op {
	case "PutParameter":
		if there && !in.Overwrite {
			return nil, "ParameterAlreadyExists"
		}
		s.params[in.Name] = in.Value
		return map[string]any{"Version": 1, "Tier": "Standard"}, ""
	case "GetParameter":
		if !there {
			return nil, "ParameterNotFound"
		}
		return map[string]any{"Parameter": parameter{in.Name, value, "String"}}, ""
	case "DeleteParameter":
		if !there {
			return nil, "ParameterNotFound"
		}
		delete(s.params, in.Name)
		return map[string]any{}, ""
	case "GetParametersByPath":
		return s.page(in)
	}
	return nil, "UnknownOperationException"
}

// page gives what SSM gives: what is right below the path, and sometimes nothing but a token for the next page.
func (s *Server) page(in input) (map[string]any, string) {
	limit := in.MaxResults
	if limit == 0 {
		limit = 10
	}
	if limit > 10 || !strings.HasPrefix(in.Path, "/") {
		return nil, "ValidationException"
	}
	var names []string
	for name := range s.params {
		if below, ok := strings.CutPrefix(name, strings.TrimRight(in.Path, "/")+"/"); ok && !strings.Contains(below, "/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	at, empty := 0, false
	if in.NextToken != "" {
		var err error
		token, wasEmpty := strings.CutSuffix(in.NextToken, "+")
		if at, err = strconv.Atoi(token); err != nil || at > len(names) {
			return nil, "InvalidNextToken"
		}
		empty = !wasEmpty
	}
	if empty { // "between zero and the value of MaxResults"
		return map[string]any{"Parameters": []parameter{}, "NextToken": fmt.Sprint(at, "+")}, ""
	}
	end := min(at+limit, len(names))
	page := []parameter{}
	for _, name := range names[at:end] {
		page = append(page, parameter{name, s.params[name], "String"})
	}
	out := map[string]any{"Parameters": page}
	if end < len(names) {
		out["NextToken"] = fmt.Sprint(end)
	}
	return out, ""
}
