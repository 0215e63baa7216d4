package main

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// maxZip is what the random function's may have: it is read at each cold start.
const maxZip = 4_000_000

// build makes the functions' bootstraps and zips in dir/build. The same source gives the same bytes, wherever it lies and whenever it is built:
// what did not change is not uploaded again, and its function not touched.
func build(ctx context.Context, dir string, out io.Writer) error {
	for _, function := range []string{"upload", "random", "tend"} {
		bootstrap := filepath.Join("build", function, "bootstrap")
		cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-tags", "lambda.norpc", "-trimpath", "-ldflags", "-s -w -buildid=", "-o", bootstrap, "./src/cmd/"+function)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "GOARM64=v8.0", "CGO_ENABLED=0", "GOFLAGS=", "GOEXPERIMENT=")
		if said, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", function, err, said)
		}
		program, err := os.ReadFile(filepath.Join(dir, bootstrap))
		if err != nil {
			return err
		}
		packed, err := pack(program)
		if err != nil {
			return err
		}
		if function == "random" && len(packed) > maxZip {
			return fmt.Errorf("build/random.zip has %d bytes, over %d: cold starts would be slow", len(packed), maxZip)
		}
		if err := os.WriteFile(filepath.Join(dir, "build", function+".zip"), packed, 0o644); err != nil {
			return err
		}
		fmt.Fprintf(out, "build/%s.zip %.1f MB\n", function, float64(len(packed))/1e6)
	}
	return nil
}

// pack makes a zip of a program as Lambda wants it: named bootstrap, and executable.
func pack(program []byte) ([]byte, error) {
	var packed bytes.Buffer
	w := zip.NewWriter(&packed)
	header := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate, Modified: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}
	header.SetMode(0o755)
	entry, err := w.CreateHeader(header)
	if err != nil {
		return nil, err
	}
	if _, err := entry.Write(program); err != nil {
		return nil, err
	}
	err = w.Close()
	return packed.Bytes(), err
}
