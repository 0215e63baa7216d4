package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"petpick/src/client"
	"petpick/src/pet"
	"petpick/src/photo"
)

const (
	// grace is how long what is under way may take after Ctrl-C.
	grace = 20 * time.Second
	// uploadAttempts at a request: a store that throttles needs some seconds.
	uploadAttempts = 6
	// maxListed is how many files of one kind the summary names, but for failures, of which it names all.
	maxListed = 20
)

// What can become of a file.
const (
	uploaded  = "uploaded"  // it is there now
	present   = "present"   // it was there already: nothing was sent
	duplicate = "duplicate" // the same picture as another of these files
	skipped   = "skipped"   // not a picture
	blocked   = "blocked"   // it was removed
	failed    = "failed"
)

var errSpecial = errors.New("a device, a pipe or a socket, not a file")

// outcome is what became of a file. Its fields are what --json prints.
type outcome struct {
	File      string `json:"file"`
	Status    string `json:"status"`
	Label     string `json:"label"`
	ID        string `json:"id,omitempty"`
	URL       string `json:"url,omitempty"`
	Of        string `json:"of,omitempty"`
	Detail    string `json:"detail,omitempty"`
	RequestID string `json:"request_id,omitempty"`

	err error
}

// summary ends what --json prints.
type summary struct {
	Files    int            `json:"files"`
	Statuses map[string]int `json:"statuses"`
	NotBegun int            `json:"not_begun"`
}

func uploadCommand() *cobra.Command {
	var conn connection
	u := &upload{}
	var label, weight string
	cmd := &cobra.Command{
		Use:   "upload FILE|FOLDER...",
		Short: "Upload pictures",
		Long: `Uploads pictures, and folders of them with all that is in them. It needs a token with the scope upload.

A picture is checked, and its metadata taken away, before it leaves this machine; its id, which the content gives, tells whether it is there
already: then nothing is sent, and it keeps the weight that it has. So an upload that was interrupted goes on when it is repeated. What is no picture
is skipped. Ctrl-C lets what is under way end, for up to 20 s; a second one ends all at once.

With --json there is a line for each file, with "file", "status" (uploaded, present, duplicate, skipped, blocked, failed), "label", and where
known "id", "url", "of", "detail" and "request_id"; the last line is {"files":…,"statuses":{…},"not_begun":…}.

The exit status is 0 when every picture is there, 1 when one is not, 2 when it could not run, and 130 after Ctrl-C.`,
		Example: `  petpick upload cats/ --label cat
  petpick upload rex.jpg --label dog --weight 2.5
  PETPICK_URL=https://pets.example petpick upload --token-file token --label cat --jobs 16 cats/`,
		Args: cobra.MinimumNArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&label, "label", "", "cat or dog")
	f.StringVar(&weight, "weight", pet.DefaultWeight.String(), "weight of what is new")
	f.IntVar(&u.jobs, "jobs", 8, "files at a time, 1 to 64")
	f.BoolVar(&u.again, "again", false, "send every picture, whatever is known of it: what was removed, unless it is blocked, and one of which the record is there, and that is not drawn")
	_ = cmd.MarkFlagRequired("label")
	_ = cmd.RegisterFlagCompletionFunc("label", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return []cobra.Completion{string(pet.Labels[0]), string(pet.Labels[1])}, cobra.ShellCompDirectiveNoFileComp
	})
	onService(cmd, "print what becomes of each file as a JSON line", &conn, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		var err1, err2, err3 error
		u.label, err1 = pet.ParseLabel(label)
		u.weight, err2 = pet.ParseWeight(weight)
		u.client, err3 = conn.open(uploadAttempts)
		if err := errors.Join(err1, err2, err3); err != nil {
			return err
		}
		if u.jobs < 1 || u.jobs > 64 {
			return errors.New("--jobs must be 1 to 64")
		}
		return u.run(cmd, args, conn.json)
	}
	return cmd
}

// upload is one run of the command.
type upload struct {
	client *client.Client
	label  pet.Label
	weight pet.Weight
	jobs   int
	again  bool

	inspector *photo.Inspector
	mu        sync.Mutex
	first     map[pet.ID]string // the file that an id was met in first
	silent    int               // files in a row that got no answer
}

func (u *upload) run(cmd *cobra.Command, args []string, asJSON bool) error {
	files, err := collect(cmd.Context(), args)
	if err != nil {
		return stopped(cmd.Context(), err)
	}
	// Before a thousand files wait for a host that does not exist.
	if _, err := u.client.Stats(cmd.Context()); errors.Is(err, client.ErrUnreachable) {
		return stopped(cmd.Context(), err)
	}
	u.inspector, u.first = photo.NewInspector(), map[pet.ID]string{}
	bar := uploadBar(cmd.ErrOrStderr(), len(files), asJSON)
	var all []outcome
	sum := summary{Files: len(files), Statuses: map[string]int{}}
	fatal := u.each(cmd.Context(), files, func(o outcome) error {
		all = append(all, o)
		sum.Statuses[o.Status]++
		_ = bar.Add(1)
		if asJSON {
			return printJSON(cmd.OutOrStdout(), o)
		}
		return nil
	})
	_ = bar.Finish()
	sum.NotBegun = len(files) - len(all)
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), sum)
	} else {
		err = report(cmd.OutOrStdout(), sum, all)
	}
	switch notThere := sum.Statuses[failed] + sum.Statuses[blocked]; {
	case err != nil:
		return err
	case sum.NotBegun+sum.Statuses[failed] > 0 && cmd.Context().Err() != nil:
		return exit{interrupted, fmt.Errorf("interrupted: %d of %d files were not begun; the same command goes on", sum.NotBegun, len(files))}
	case fatal != nil:
		return exit{cmp.Or(min(sum.Statuses[uploaded]+sum.Statuses[present], 1), 2), fmt.Errorf("ended early, for the rest would fail as well: %w", fatal)}
	case notThere > 0:
		return exit{1, fmt.Errorf("%d of %d files are not there; what failed while it was uploaded (5xx, no answer) wants --again", notThere, len(files))}
	}
	return nil
}

func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return exit{interrupted, errors.New("interrupted")}
	}
	return err
}

// uploadBar shows on a terminal how far it is; it is over before the summary.
func uploadBar(w io.Writer, files int, asJSON bool) *progressbar.ProgressBar {
	if asJSON || !isTerminal(w) {
		return progressbar.DefaultSilent(int64(files))
	}
	return progressbar.NewOptions(files, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription("uploading"), progressbar.OptionShowCount(),
		progressbar.OptionShowIts(), progressbar.OptionSetItsString("files"), progressbar.OptionSetPredictTime(true), progressbar.OptionSetElapsedTime(true),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionUseANSICodes(false))
}

// each takes files to their ends, some at a time, and gives what became of them to one caller. After Ctrl-C, or when what went wrong is the same
// for all, it begins no more. The error is why it did not begin all; nil after Ctrl-C.
func (u *upload) each(ctx context.Context, files []string, done func(outcome) error) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()
	begin, enough := context.WithCancelCause(ctx)
	defer enough(nil)
	next, outcomes := make(chan string), make(chan outcome)
	go func() {
		defer close(next)
		for _, file := range files {
			select {
			case <-begin.Done():
				return
			case next <- file:
			}
		}
	}()
	var workers sync.WaitGroup
	for range u.jobs {
		workers.Go(func() {
			for file := range next {
				outcomes <- u.one(work, file)
			}
		})
	}
	go func() { workers.Wait(); close(outcomes) }()
	for o := range outcomes {
		if err := cmp.Or(done(o), u.hopeless(o.err)); err != nil {
			enough(err)
		}
	}
	if ctx.Err() != nil || begin.Err() == nil {
		return nil
	}
	return context.Cause(begin)
}

// hopeless is the error of a file when the others will meet it, too.
func (u *upload) hopeless(err error) error {
	// Of the service itself, which says so with a request_id: S3's 403 is about one file.
	var e *client.Error
	if errors.As(err, &e) && e.RequestID != "" && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden) {
		return err
	}
	if !errors.Is(err, client.ErrUnreachable) {
		u.silent = 0
		return nil
	}
	if u.silent++; u.silent >= max(u.jobs, 4) {
		return err
	}
	return nil
}

// one takes a file to its end.
func (u *upload) one(ctx context.Context, file string) outcome {
	o := outcome{File: file, Label: string(u.label)}
	p, err := u.publish(ctx, file)
	if err != nil {
		return o.because(err)
	}
	id := pet.NewID(sha256.Sum256(p.Body), p.Type)
	o.ID = id.String()
	if first := u.claim(id, file); first != file {
		o.Status, o.Of = duplicate, first
		return o
	}
	if !u.again {
		rec, err := u.client.Show(ctx, u.label, id)
		if err == nil {
			o.Status, o.URL = present, rec.URL
			return o
		}
		if client.StatusOf(err) != http.StatusNotFound {
			return o.because(err)
		}
	}
	up, err := u.client.Upload(ctx, u.label, u.weight, p.Type, p.Body)
	if err != nil {
		return o.because(err)
	}
	o.Status, o.ID, o.URL = uploaded, up.ID, up.URL
	if !up.Created {
		o.Status = present
	}
	return o
}

func (u *upload) claim(id pet.ID, file string) (first string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if first, there := u.first[id]; there {
		return first
	}
	u.first[id] = file
	return file
}

// publish reads a file, and what may be published of it. Its first bytes come first: a film is not read to learn that it is no picture.
func (u *upload) publish(ctx context.Context, file string) (photo.Published, error) {
	info, err := os.Stat(file)
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		return photo.Published{}, errSpecial // to open a pipe would wait for its writer
	}
	f, err := os.Open(file)
	if err != nil {
		return photo.Published{}, err
	}
	defer f.Close()
	head := make([]byte, 64)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return photo.Published{}, err
	}
	if _, err := u.inspector.Publish(ctx, head[:n]); errors.Is(err, photo.ErrType) {
		return photo.Published{}, err
	}
	rest, err := io.ReadAll(io.LimitReader(f, photo.MaxBytes+1))
	if err != nil {
		return photo.Published{}, err
	}
	return u.inspector.Publish(ctx, append(head[:n], rest...))
}

// because is an outcome that was not hoped for.
func (o outcome) because(err error) outcome {
	o.Status, o.Detail, o.err = failed, err.Error(), err
	var path *fs.PathError
	var answer *client.Error
	switch {
	case errors.Is(err, photo.ErrType), errors.Is(err, errSpecial):
		o.Status = skipped
	case errors.As(err, &path): // the summary has the name already
		o.Detail = path.Err.Error()
	case errors.As(err, &answer):
		o.Detail, o.RequestID = answer.Detail, answer.RequestID
		if answer.Status == http.StatusGone || answer.Status == http.StatusUnavailableForLegalReasons {
			o.Status = blocked
		}
	}
	return o
}

// report prints the summary, and what did not go well by name.
func report(w io.Writer, sum summary, all []outcome) error {
	words := map[string]string{uploaded: "uploaded", present: "there already", duplicate: "the same as another", skipped: "no pictures", blocked: "removed or blocked", failed: "failed"}
	text := fmt.Sprintf("%d files", sum.Files)
	for i, s := range []string{uploaded, present, duplicate, skipped, blocked, failed} {
		if n := sum.Statuses[s]; n > 0 || i == 0 {
			text += fmt.Sprintf(", %d %s", n, words[s])
		}
	}
	if sum.NotBegun > 0 {
		text += fmt.Sprintf(", %d not begun", sum.NotBegun)
	}
	text += "\n"
	slices.SortFunc(all, func(a, b outcome) int { return cmp.Compare(a.File, b.File) })
	for _, s := range []string{skipped, blocked, failed} {
		listed := 0
		for _, o := range all {
			if o.Status != s {
				continue
			}
			if listed++; s == skipped && listed > maxListed {
				text += fmt.Sprintf("%-8s and %d more\n", s, sum.Statuses[s]-maxListed)
				break
			}
			text += fmt.Sprintf("%-8s %s: %s", s, client.Printable(o.File), client.Printable(o.Detail))
			if o.RequestID != "" {
				text += " (request " + client.Printable(o.RequestID) + ")"
			}
			text += "\n"
		}
	}
	_, err := io.WriteString(w, text)
	return err
}

// collect names all files: those that are given, and those in folders that are. Links are followed, each folder once, so that a link to a
// folder above ends. What cannot be read is named as well: its turn will tell why.
func collect(ctx context.Context, args []string) (files []string, err error) {
	seen, named := map[string]bool{}, map[string]bool{}
	add := func(path string) {
		if !named[path] { // a folder, and a file in it
			files, named[path] = append(files, path), true
		}
	}
	var walk func(path string) error
	walk = func(path string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil || !info.IsDir() {
			add(path)
			return nil
		}
		real, err := filepath.EvalSymlinks(path)
		if err == nil && seen[real] {
			return nil
		}
		seen[real] = true
		entries, err := os.ReadDir(path)
		if err != nil {
			add(path)
		}
		for _, e := range entries {
			if err := walk(filepath.Join(path, e.Name())); err != nil {
				return err
			}
		}
		return nil
	}
	for _, arg := range args {
		if _, err := os.Stat(arg); err != nil {
			return nil, err
		}
		if err := walk(filepath.Clean(arg)); err != nil {
			return nil, err
		}
	}
	if len(files) == 0 {
		return nil, errors.New("there are no files")
	}
	return files, nil
}
