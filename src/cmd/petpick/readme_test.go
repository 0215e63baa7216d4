package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every command of README's console blocks prints what README says.
func TestReadme(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("README's commands use curl, which is not installed here")
	}
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, t.TempDir())
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "petpick"), []byte("#!/bin/sh\nPETPICK_TEST_AS_PROGRAM=1 exec '"+program().Path+"' \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	commands := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(readme), -1) {
		for _, step := range strings.Split(block[1], "$ ")[1:] {
			command, want, _ := strings.Cut(step, "\n")
			commands++
			cmd := exec.Command("sh", "-c", strings.ReplaceAll(command, "http://127.0.0.1:8080", s.url))
			cmd.Dir = "../../.."
			cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "PETPICK_URL="+s.url, "PETPICK_TOKEN=")
			out, err := cmd.Output()
			if err != nil {
				t.Errorf("%s: %v", command, err)
			}
			got := strings.ReplaceAll(strings.ReplaceAll(string(out), "\r", ""), s.url, "http://127.0.0.1:8080")
			if masked(got) != masked(want) {
				t.Errorf("%s\n got %s\nwant %s", command, got, want)
			}
		}
	}
	if commands < 5 {
		t.Errorf("README has %d commands: the test tests nothing", commands)
	}
}

// masked hides what is another each time.
func masked(s string) string {
	s = regexp.MustCompile(`"uploaded_at":"[^"]*"`).ReplaceAllString(s, `"uploaded_at":"T"`)
	s = regexp.MustCompile(`\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d UTC)?`).ReplaceAllString(s, "D")
	return regexp.MustCompile(`"request_id":"[^"]*"`).ReplaceAllString(s, `"request_id":"R"`)
}
