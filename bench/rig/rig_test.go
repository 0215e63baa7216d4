package rig_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"petpick/bench/rig"
	"petpick/infra"
	"petpick/src/blob"
	"petpick/src/blob/s3blob"
	"petpick/src/index"
)

// TestMain is also a bootstrap, which answers as often as it is told and ends then.
func TestMain(m *testing.M) {
	answers, err := strconv.Atoi(os.Getenv("RIG_TEST_ANSWERS"))
	if err != nil {
		os.Exit(m.Run())
	}
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	for i := 0; ; i++ {
		resp, err := http.Get(api + "next")
		if err != nil || i == answers {
			os.Exit(3)
		}
		resp.Body.Close()
		if resp, err = http.Post(api+resp.Header.Get("Lambda-Runtime-Aws-Request-Id")+"/response", "application/json", strings.NewReader("{}")); err != nil {
			os.Exit(4)
		}
		resp.Body.Close()
		if i+1 == answers && os.Getenv("RIG_TEST_IDLE") == "" {
			os.Exit(3)
		}
	}
}

// TestBootstrapThatEnds: between two invocations, and during one.
func TestBootstrapThatEnds(t *testing.T) {
	for _, env := range [][]string{{"RIG_TEST_ANSWERS=1"}, {"RIG_TEST_ANSWERS=1", "RIG_TEST_IDLE=1"}} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		l, err := rig.StartLambda(ctx, os.Args[0], rig.Function{Timeout: time.Hour, GoLimit: "off"}, env)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := l.Invoke(ctx, "first"); err != nil {
			t.Errorf("%v: %v", env, err)
		}
		for range 2 {
			if _, _, err := l.Invoke(ctx, "second"); err == nil || !strings.Contains(err.Error(), "ended by itself, exit status 3") {
				t.Errorf("%v: a bootstrap that has ended: %v", env, err)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestWithin: what takes too long is ended, and its error says why.
func TestWithin(t *testing.T) {
	err := rig.Within(time.Millisecond, func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	if err == nil || !strings.HasPrefix(err.Error(), "not done within 1ms") {
		t.Errorf("%v", err)
	}
	if err := rig.Within(time.Hour, func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
}

// TestFill: the index has as many pictures as were asked for, in two sizes of a listing's page, and calls through the endpoint are counted.
func TestFill(t *testing.T) {
	data := t.TempDir()
	t.Chdir(data) // the S3 server leaves it
	if err := rig.Fill(t.Context(), data, 2500); err != nil {
		t.Fatal(err)
	}
	st, err := rig.OpenStore(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	x := index.Open(index.Config{Label: "cat", Photos: blob.NewMemory(nil), Index: s3blob.New(st.Client(), rig.Index)})
	stats, err := x.Stats(t.Context())
	if err != nil || stats.Pictures != 2500 {
		t.Errorf("%d pictures, want 2500, %v", stats.Pictures, err)
	}
	if calls := st.Calls(); len(calls) != 0 {
		t.Errorf("calls that did not go through the endpoint are counted: %v", calls)
	}
}

func TestFunctions(t *testing.T) {
	functions, err := rig.Functions(infra.Template)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"UploadFunction", "RandomFunction", "TendFunction"} {
		if f := functions[id]; f.MemoryMB < 128 || f.Timeout == 0 || f.GoLimit == "" {
			t.Errorf("%s: %+v", id, f)
		}
	}
}

// TestUsage of a process that does nothing but be there.
func TestUsage(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	p, err := rig.Run("", nil, sleep, "60")
	if err != nil {
		t.Fatal(err)
	}
	u, err := p.Usage()
	if err != nil || u.Resident <= 0 || u.Peak < u.Resident || u.Descriptors < 3 {
		t.Errorf("%+v, %v", u, err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if err := p.Await(context.Background(), "http://127.0.0.1:1/"); err == nil {
		t.Error("a program that has ended is awaited")
	}
}
