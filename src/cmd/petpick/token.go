package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"petpick/src/access"
	"petpick/src/access/ssmtokens"
)

// tokenStore is where tokens are kept: a folder here, SSM on AWS.
type tokenStore interface {
	List(ctx context.Context) (tokens []access.Token, faults []error, err error)
	Create(ctx context.Context, t access.Token) error
	Delete(ctx context.Context, id string) error
}

// tokenFlags say where tokens are kept, and how they are shown.
type tokenFlags struct {
	stage, data string
	json        bool
}

func (f *tokenFlags) bind(cmd *cobra.Command) {
	stageFlag(cmd, &f.stage)
	cmd.Flags().StringVar(&f.data, "data", ".petpick", "folder of the local service")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("stage", "data")
}

func (f *tokenFlags) open(ctx context.Context) (tokenStore, error) {
	if f.stage == "" {
		return localTokens(f.data), nil
	}
	cfg, found, err := findStage(ctx, f.stage)
	if err != nil {
		return nil, err
	}
	return ssmtokens.New(cfg, found.TokensPath), nil
}

func localTokens(data string) *access.Folder { return access.NewFolder(filepath.Join(data, "tokens")) }

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke the tokens by which people upload and curate",
		Long: `Makes, lists and revokes tokens: of a deployed stack with --stage, else of the service on this machine.
What is done here counts everywhere within a minute, and on this machine within a second.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(tokenCreateCommand(), tokenListCommand(), tokenRevokeCommand())
	return cmd
}

// defaultLife of a token: one that is forgotten somewhere ends by itself.
const defaultLife = "90d"

func tokenCreateCommand() *cobra.Command {
	var at tokenFlags
	var name, scopes, life string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a token and print it, this once",
		Long: `Makes a token and prints it on standard output. It is shown this once: what is kept is its SHA-256, which opens nothing.
The name says whose it is: the log names each change's token by it.`,
		Example: `  petpick token create --name 'the camera in the barn' --scope upload
  petpick token create --name ann --scope upload,curate --expires 1d --stage dev
  export PETPICK_TOKEN=$(petpick token create --name me --scope upload,curate)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			good, err := parseLife(life)
			if err != nil {
				return err
			}
			t, text, err := access.New(name, parseScopes(scopes), good, time.Now())
			if err != nil {
				return err
			}
			store, err := at.open(cmd.Context())
			if err != nil {
				return err
			}
			if err := store.Create(cmd.Context(), t); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "token %s of %s, for %s, %s: it is not shown again\n", t.ID, t.Name, scopeText(t), expiryText(t, time.Now()))
			if !at.json {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), text)
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
				tokenLine
				Token string `json:"token"`
			}{lineOf(t, time.Now()), text})
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "whose it is")
	f.StringVar(&scopes, "scope", "", "upload, curate, or both with a comma")
	f.StringVar(&life, "expires", defaultLife, "how long it is good: 90d, 12h, or never")
	errName, errScope := cmd.MarkFlagRequired("name"), cmd.MarkFlagRequired("scope")
	if err := errors.Join(errName, errScope); err != nil { // no such flag: they are right above
		panic(err)
	}
	at.bind(cmd)
	return cmd
}

func parseScopes(s string) []access.Scope {
	var scopes []access.Scope
	for name := range strings.SplitSeq(s, ",") {
		scopes = append(scopes, access.Scope(strings.TrimSpace(name)))
	}
	return scopes
}

// parseLife reads a duration that may be in days; 0 is never.
func parseLife(s string) (time.Duration, error) {
	if s == "never" {
		return 0, nil
	}
	good, err := time.ParseDuration(s)
	if days, isDays := strings.CutSuffix(s, "d"); isDays {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16) // 65,535 days are 179 years
		good = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || good < time.Second {
		return 0, fmt.Errorf("--expires %q is not a time such as 90d or 12h, nor never", s)
	}
	return good, nil
}

// tokenLine is a token as it is listed.
type tokenLine struct {
	ID      string         `json:"id"`
	Name    string         `json:"name"`
	Scopes  []access.Scope `json:"scopes"`
	Created time.Time      `json:"created_at"`
	Expires time.Time      `json:"expires_at,omitzero"`
	Expired bool           `json:"expired"`
}

func lineOf(t access.Token, now time.Time) tokenLine {
	return tokenLine{t.ID, t.Name, t.Scopes, t.Created, t.Expires, t.Expired(now)}
}

func scopeText(t access.Token) string {
	names := make([]string, len(t.Scopes))
	for i, s := range t.Scopes {
		names[i] = string(s)
	}
	return strings.Join(names, ",")
}

func expiryText(t access.Token, now time.Time) string {
	at := t.Expires.UTC().Format("2006-01-02 15:04Z")
	switch {
	case t.Expires.IsZero():
		return "never expires"
	case t.Expired(now):
		return "expired " + at
	}
	return "expires " + at
}

func tokenListCommand() *cobra.Command {
	var at tokenFlags
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the tokens, without their secrets, which nobody keeps",
		Example: `  petpick token list --stage dev
  petpick token list --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := at.open(cmd.Context())
			if err != nil {
				return err
			}
			tokens, faults, err := store.List(cmd.Context())
			if err != nil {
				return err
			}
			for _, fault := range faults {
				fmt.Fprintln(cmd.ErrOrStderr(), "opens nothing:", fault)
			}
			slices.SortFunc(tokens, func(a, b access.Token) int {
				return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
			})
			return printTokens(cmd.OutOrStdout(), tokens, at.json, time.Now())
		},
	}
	at.bind(cmd)
	return cmd
}

func printTokens(w io.Writer, tokens []access.Token, asJSON bool, now time.Time) error {
	if asJSON {
		lines := []tokenLine{}
		for _, t := range tokens {
			lines = append(lines, lineOf(t, now))
		}
		return json.NewEncoder(w).Encode(lines)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tSCOPES\tCREATED\tEXPIRY")
	for _, t := range tokens {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", t.ID, t.Name, scopeText(t), t.Created.UTC().Format("2006-01-02 15:04Z"), expiryText(t, now))
	}
	return table.Flush()
}

func tokenRevokeCommand() *cobra.Command {
	var at tokenFlags
	cmd := &cobra.Command{
		Use:     "revoke ID...",
		Short:   "Revoke tokens, for good, by the ids that list shows",
		Example: `  petpick token revoke q3zt7k2a --stage dev`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			store, err := at.open(cmd.Context())
			if err != nil {
				return err
			}
			var errs []error
			revoked := []string{}
			for _, id := range ids {
				if err := revoke(cmd.Context(), store, id); err != nil {
					errs = append(errs, err)
					continue
				}
				revoked = append(revoked, id)
				fmt.Fprintf(cmd.ErrOrStderr(), "token %s is revoked: within a minute it opens nothing any more\n", id)
			}
			if at.json {
				errs = append(errs, json.NewEncoder(cmd.OutOrStdout()).Encode(map[string][]string{"revoked": revoked}))
			}
			return errors.Join(errs...)
		},
	}
	at.bind(cmd)
	return cmd
}

// revoke tells a token that is gone by now, whoever did it or whichever answer was lost, from one that never was.
func revoke(ctx context.Context, store tokenStore, id string) error {
	if strings.HasPrefix(id, "pet_") {
		return errors.New("revoke takes the id, not the token: arguments are for everyone on this machine to see")
	}
	tokens, _, errList := store.List(ctx) // what it cannot tell keeps no token from being revoked
	listed := slices.ContainsFunc(tokens, func(t access.Token) bool { return t.ID == id })
	err := store.Delete(ctx, id)
	if errors.Is(err, access.ErrNotFound) {
		if listed {
			return nil
		}
		return errors.Join(err, errList)
	}
	return err
}
