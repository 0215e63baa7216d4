package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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

// What the documents tell operators to type is there: verbs, their flags and numbers of arguments, make's targets and variables.
func TestCommandsInDocuments(t *testing.T) {
	makefile, err := os.ReadFile("../../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile("(?m)(?:^    |^|`)(?:[A-Z_]+=[^ ]+ )*((?:petpick|make) [a-z][^`\n]*)")
	for document, least := range map[string]int{"README.md": 25, "infra/OPERATIONS.md": 25} {
		text, err := os.ReadFile(filepath.Join("../../..", document))
		if err != nil {
			t.Fatal(err)
		}
		found := said.FindAllStringSubmatch(string(text), -1)
		if len(found) < least {
			t.Errorf("%s has %d commands: the test tests nothing", document, len(found))
		}
		for _, f := range found {
			line, _, _ := strings.Cut(f[1], " #")
			line, _, _ = strings.Cut(line, "   ")
			words := strings.Fields(regexp.MustCompile(`'[^']*'`).ReplaceAllString(line, "quoted"))
			check := checkVerb
			if words[0] == "make" {
				check = func(words []string) error { return checkTarget(string(makefile), words) }
			}
			if err := check(words[1:]); err != nil {
				t.Errorf("%s: %s: %v", document, line, err)
			}
		}
	}
}

func checkVerb(words []string) error {
	root := commands()
	root.InitDefaultCompletionCmd()
	cmd, rest, err := root.Find(slices.DeleteFunc(words, func(w string) bool { return w == "--help" }))
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if args := cmd.Flags().Args(); err == nil && len(args) > 0 { // the verb alone is only spoken of
		err = cmd.ValidateArgs(args)
	}
	return err
}

func checkTarget(makefile string, words []string) error {
	if !regexp.MustCompile(`(?m)^` + words[0] + `:`).MatchString(makefile) {
		return fmt.Errorf("there is no target %s", words[0])
	}
	for _, w := range words[1:] {
		if name, _, is := strings.Cut(w, "="); is && !strings.Contains(makefile, "$("+name+")") && !strings.Contains(makefile, "$(or $("+name) {
			return fmt.Errorf("no target takes %s", name)
		}
	}
	return nil
}

// masked hides what is another each time.
func masked(s string) string {
	s = regexp.MustCompile(`"uploaded_at":"[^"]*"`).ReplaceAllString(s, `"uploaded_at":"T"`)
	s = regexp.MustCompile(`\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d UTC)?`).ReplaceAllString(s, "D")
	return regexp.MustCompile(`"request_id":"[^"]*"`).ReplaceAllString(s, `"request_id":"R"`)
}
