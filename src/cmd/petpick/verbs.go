package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"petpick/src/access"
	"petpick/src/client"
	"petpick/src/pet"
)

// interrupted is the exit status after Ctrl-C, as shells have it.
const interrupted = 130

// exit is an error with a status of its own.
type exit struct {
	status int
	error
}

func (e exit) Unwrap() error { return e.error }

// connection is how a command reaches the service.
type connection struct {
	url, tokenFile string
	json           bool
}

// onService makes a command that speaks to the service.
func onService(cmd *cobra.Command, what string, conn *connection, run func(cmd *cobra.Command, c *client.Client, args []string) error) *cobra.Command {
	f := cmd.Flags()
	f.StringVar(&conn.url, "url", "", "the service (default: PETPICK_URL, else http://127.0.0.1:8080)")
	f.StringVar(&conn.tokenFile, "token-file", "", "file with the token (default: PETPICK_TOKEN has it; on this machine, dev)")
	f.BoolVar(&conn.json, "json", false, what)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := conn.open(3)
		if err != nil {
			return err
		}
		err = run(cmd, c, args)
		if err != nil && cmd.Context().Err() != nil {
			return exit{interrupted, errors.New("interrupted")}
		}
		return err
	}
	return cmd
}

// open returns a client. A token is no flag: every user of the machine can read the arguments of a process.
func (conn *connection) open(attempts int) (*client.Client, error) {
	address := conn.url
	if address == "" {
		address = os.Getenv("PETPICK_URL")
	}
	if address == "" {
		address = "http://127.0.0.1:8080"
	}
	token := strings.TrimSpace(os.Getenv("PETPICK_TOKEN"))
	if conn.tokenFile != "" {
		b, err := os.ReadFile(conn.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		if token = strings.TrimSpace(string(b)); token == "" {
			return nil, fmt.Errorf("--token-file: %s is empty", conn.tokenFile)
		}
	}
	if u, err := url.Parse(address); err == nil && token == "" && client.Loopback(u) {
		token = access.DevToken
	}
	return client.New(client.Config{URL: address, Token: token, Attempts: attempts})
}

// picture is a picture as people name it: cat/ID, or the address of the picture or of its record.
func picture(s string) (pet.Label, pet.ID, error) {
	wrong := fmt.Errorf("%q names no picture: say cat/ID, as petpick ls prints it, or its address", s)
	s, _, _ = strings.Cut(s, "?")
	parts := strings.Split(s, "/")
	if len(parts) < 2 {
		return "", pet.ID{}, wrong
	}
	label, err := pet.ParseLabel(parts[len(parts)-2])
	if err != nil {
		return "", pet.ID{}, wrong
	}
	name, ext, has := strings.Cut(parts[len(parts)-1], ".")
	id, err := pet.ParseID(name)
	if err != nil || has && ext != id.Type().Ext() {
		return "", pet.ID{}, wrong
	}
	return label, id, nil
}

// labelled lets a shell complete a label.
func labelled(cmd *cobra.Command) *cobra.Command {
	for _, l := range pet.Labels {
		cmd.ValidArgs = append(cmd.ValidArgs, cobra.Completion(l))
	}
	cmd.Args = cobra.ExactArgs(1)
	return cmd
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func randomCommand() *cobra.Command {
	var conn connection
	var out string
	cmd := labelled(&cobra.Command{
		Use:   "random LABEL",
		Short: "Draw a picture by weight",
		Long:  `Draws a picture and prints its address. With --out its bytes are stored in a file, which must not exist yet, or written to - (standard output).`,
		Example: `  petpick random cat
  petpick random cat --out cat.jpg
  petpick random dog --json | jq -r .url`,
	})
	cmd.Flags().StringVarP(&out, "out", "o", "", "store the picture in this file; - is standard output")
	return onService(cmd, "print the record as JSON", &conn, func(cmd *cobra.Command, c *client.Client, args []string) error {
		label, err := pet.ParseLabel(args[0])
		if err != nil {
			return err
		}
		if conn.json && out == "-" {
			return errors.New("--json and --out - both write to standard output")
		}
		rec, err := c.Draw(cmd.Context(), label)
		if err == nil && out != "" {
			err = save(cmd, c, rec, out)
		}
		switch {
		case err != nil:
			return err
		case conn.json:
			return printJSON(cmd.OutOrStdout(), rec)
		case out == "":
			_, err = fmt.Fprintln(cmd.OutOrStdout(), client.Printable(rec.URL))
		}
		return err
	})
}

// save writes a picture to a file. What did not arrive whole leaves none.
func save(cmd *cobra.Command, c *client.Client, rec client.Record, out string) error {
	if out == "-" {
		return c.Fetch(cmd.Context(), rec, cmd.OutOrStdout())
	}
	tmp, err := os.CreateTemp(filepath.Dir(out), ".petpick-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	err = c.Fetch(cmd.Context(), rec, tmp)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	return os.Link(tmp.Name(), out) // unlike a rename, it replaces nothing
}

func lsCommand() *cobra.Command {
	var conn connection
	var limit int
	cmd := labelled(&cobra.Command{
		Use:   "ls LABEL",
		Short: "List the pictures of a label, with weights",
		Long: `Lists the pictures of a label in the order of their ids, paused ones (weight 0) among them. It needs a token with the scope curate.
With --json each picture's record is a line.`,
		Example: `  petpick ls cat
  petpick ls cat --json | jq -r 'select(.weight == 0) | .id'`,
	})
	cmd.Flags().IntVar(&limit, "limit", 0, "end after so many; 0 is all")
	return onService(cmd, "print records as JSON lines", &conn, func(cmd *cobra.Command, c *client.Client, args []string) error {
		label, err := pet.ParseLabel(args[0])
		if err != nil {
			return err
		}
		if limit < 0 {
			return fmt.Errorf("--limit %d is below 0", limit)
		}
		out := bufio.NewWriter(cmd.OutOrStdout())
		print := func(r client.Record) error {
			if conn.json {
				return printJSON(out, r)
			}
			_, err := fmt.Fprintf(out, "%s/%s %9s %9d B %5d x %-5d %s %s\n", label, client.Printable(r.ID), r.Weight, r.Bytes, r.Width, r.Height,
				r.UploadedAt.Format("2006-01-02"), client.Printable(r.Type))
			return err
		}
		return errors.Join(walk(cmd.Context(), c, label, limit, print), out.Flush())
	})
}

// walk lists a label page by page; limit 0 is all of it.
func walk(ctx context.Context, c *client.Client, label pet.Label, limit int, each func(client.Record) error) error {
	for cursor, n := "", 0; ; {
		size := 1000
		if limit > 0 {
			size = min(size, limit-n)
		}
		page, err := c.List(ctx, label, size, cursor)
		if err != nil {
			return err
		}
		for _, r := range page.Pets {
			if err := each(r); err != nil {
				return err
			}
		}
		n += len(page.Pets)
		if page.Cursor == "" || limit > 0 && n >= limit {
			return nil
		}
		cursor = page.Cursor
	}
}

func showCommand() *cobra.Command {
	var conn connection
	return onService(&cobra.Command{
		Use:   "show PICTURE...",
		Short: "Show what is known of a picture",
		Long: `Shows pictures' records. A picture is named as petpick ls does, cat/ID, or by its address. The etag is for --if-match.
With --json each record is a line.`,
		Example: `  petpick show cat/b8220353d3988a43976ab3e83ba30881
  petpick show https://pets.example/cat/b8220353d3988a43976ab3e83ba30881.jpg --json`,
		Args: cobra.MinimumNArgs(1),
	}, "print records as JSON lines", &conn, func(cmd *cobra.Command, c *client.Client, args []string) error {
		return ofEach(c, args, func(label pet.Label, id pet.ID) error {
			rec, err := c.Show(cmd.Context(), label, id)
			if err != nil {
				return err
			}
			return printRecord(cmd.OutOrStdout(), conn.json, rec)
		})
	})
}

// ofEach does something with every picture that is named, whatever becomes of the others. All names are read first: with a wrong one nothing
// is done.
func ofEach(c *client.Client, names []string, do func(pet.Label, pet.ID) error) error {
	for _, name := range names {
		if _, _, err := picture(name); err != nil {
			return err
		}
		// The same picture has the same id everywhere: an address of one service must not act on another.
		if u, err := url.Parse(name); err == nil && u.Host != "" && u.Host != c.Host() {
			return fmt.Errorf("%s is of %s, and PETPICK_URL or --url says %s", name, u.Host, c.Host())
		}
	}
	var errs []error
	for _, name := range names {
		label, id, _ := picture(name)
		if err := do(label, id); err != nil {
			errs = append(errs, fmt.Errorf("%s/%s: %w", label, id, err))
		}
	}
	return errors.Join(errs...)
}

func printRecord(w io.Writer, asJSON bool, r client.Record) error {
	if asJSON {
		return printJSON(w, r)
	}
	_, err := fmt.Fprintf(w, "%s/%s\n  weight    %s\n  url       %s\n  type      %s, %d bytes, %d x %d\n  uploaded  %s\n  etag      %s\n", client.Printable(r.Label), client.Printable(r.ID),
		r.Weight, client.Printable(r.URL), client.Printable(r.Type), r.Bytes, r.Width, r.Height, r.UploadedAt.Format("2006-01-02 15:04:05 MST"), client.Printable(r.ETag))
	return err
}

func weightCommand() *cobra.Command {
	var conn connection
	var ifMatch string
	cmd := &cobra.Command{
		Use:   "weight PICTURE WEIGHT",
		Short: "Change a picture's weight; 0 pauses it",
		Long: `Changes a picture's weight: 0 to 16777.215 with at most three decimals. It needs a token with the scope curate.
With --if-match and the etag that petpick show prints, it fails when somebody else has changed the picture since.`,
		Example: `  petpick weight cat/b8220353d3988a43976ab3e83ba30881 2.5
  petpick weight cat/b8220353d3988a43976ab3e83ba30881 0 --if-match '"3-2500"'`,
		Args: cobra.ExactArgs(2),
	}
	cmd.Flags().StringVar(&ifMatch, "if-match", "", "change the record with this etag only")
	return onService(cmd, "print the record as JSON", &conn, func(cmd *cobra.Command, c *client.Client, args []string) error {
		weight, err := pet.ParseWeight(args[1])
		if err != nil {
			return err
		}
		return ofEach(c, args[:1], func(label pet.Label, id pet.ID) error {
			rec, err := c.Weigh(cmd.Context(), label, id, weight, ifMatch)
			if err != nil {
				return err
			}
			return printRecord(cmd.OutOrStdout(), conn.json, rec)
		})
	})
}

func rmCommand() *cobra.Command {
	var conn connection
	var yes, noBlock, purge bool
	var ifMatch string
	cmd := &cobra.Command{
		Use:   "rm PICTURE...",
		Short: "Take pictures down",
		Long: `Takes pictures down: out of the draw, their bytes deleted, the edge told to forget them, and blocked from being uploaded again. It needs
a token with the scope curate, asks first on a terminal, and needs --yes elsewhere. It may be repeated, also to block, to lift a block, or to purge.
The receipt says what nobody can promise. With --json each receipt is a line.`,
		Example: `  petpick rm cat/b8220353d3988a43976ab3e83ba30881
  petpick rm --yes --purge cat/b8220353d3988a43976ab3e83ba30881`,
		Args: cobra.MinimumNArgs(1),
	}
	f := cmd.Flags()
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	f.BoolVar(&noBlock, "no-block", false, "let the same picture be uploaded again (after 16 minutes); lifts a block")
	f.BoolVar(&purge, "purge", false, "delete the old versions that the store keeps, too")
	f.StringVar(&ifMatch, "if-match", "", "take down the record with this etag only")
	return onService(cmd, "print receipts as JSON lines", &conn, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if ifMatch != "" && len(args) > 1 {
			return errors.New("--if-match is for one picture")
		}
		return ofEach(c, args, func(label pet.Label, id pet.ID) error {
			if !yes {
				if err := confirm(cmd, fmt.Sprintf("Take %s/%s down?", label, id)); err != nil {
					return err
				}
			}
			r, err := c.Remove(cmd.Context(), label, id, !noBlock, purge, ifMatch)
			if err != nil {
				return err
			}
			return printReceipt(cmd.OutOrStdout(), conn.json, r)
		})
	})
}

// confirm asks on a terminal. Elsewhere nobody would answer.
func confirm(cmd *cobra.Command, question string) error {
	in := cmd.InOrStdin()
	if !isTerminal(in) {
		return errors.New("not done: this is no terminal to ask on; say --yes")
	}
	fmt.Fprint(cmd.ErrOrStderr(), question, " [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case a := <-answer:
		if a == "y" || a == "yes" {
			return nil
		}
		return errors.New("not done")
	case <-cmd.Context().Done(): // Ctrl-C does not end a read
		return cmd.Context().Err()
	}
}

func printReceipt(w io.Writer, asJSON bool, r client.Receipt) error {
	if asJSON {
		return printJSON(w, r)
	}
	block := "no"
	if r.Blocked {
		block = "yes"
	}
	_, err := fmt.Fprintf(w, "%s/%s is taken down\n  bytes         %s\n  old versions  %s\n  invalidated   %s\n  blocked       %s\n", client.Printable(r.Label), client.Printable(r.ID),
		client.Printable(r.Bytes), client.Printable(r.OldVersions), client.Printable(r.Invalidated), block)
	for _, l := range r.Limits {
		if err == nil {
			_, err = fmt.Fprintf(w, "  but           %s\n", client.Printable(l))
		}
	}
	return err
}

func statsCommand() *cobra.Command {
	var conn connection
	return onService(&cobra.Command{
		Use:   "stats",
		Short: "Each label in numbers",
		Example: `  petpick stats
  petpick stats --json | jq .labels.cat.pictures`,
		Args: cobra.NoArgs,
	}, "print the numbers as JSON", &conn, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		s, err := c.Stats(cmd.Context())
		if err != nil {
			return err
		}
		if conn.json {
			return printJSON(cmd.OutOrStdout(), s)
		}
		for _, label := range pet.Labels {
			l := s.Labels[string(label)]
			fmt.Fprintf(cmd.OutOrStdout(), "%s  %d pictures, total weight %s, index version %d\n", label, l.Pictures, l.Weight, l.IndexVersion)
		}
		return nil
	})
}
