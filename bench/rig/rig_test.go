package rig_test

import (
	"context"
	"os/exec"
	"testing"

	"petpick/bench/rig"
	"petpick/infra"
	"petpick/src/blob"
	"petpick/src/blob/s3blob"
	"petpick/src/index"
)

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
