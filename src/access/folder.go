package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Folder keeps each token in a file `<id>.json`, which its owner alone may read. Any number of processes may use it at once: a token is
// written under a name of its own and then linked, so that its file is there whole or not at all, and none replaces another.
type Folder struct{ dir string }

// NewFolder returns the folder dir, which Create makes when it is missing.
func NewFolder(dir string) *Folder { return &Folder{dir} }

// List returns the tokens; a folder that is not there has none. Files that are something else are left alone.
func (f *Folder) List(ctx context.Context) (tokens []Token, faults []error, err error) {
	entries, err := os.ReadDir(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || strings.HasPrefix(id, ".") {
			continue
		}
		t, err := f.get(e.Name(), id)
		switch {
		case errors.Is(err, fs.ErrNotExist): // deleted since
		case err != nil:
			faults = append(faults, fmt.Errorf("%s: %w", filepath.Join(f.dir, e.Name()), err))
		default:
			tokens = append(tokens, t)
		}
	}
	return tokens, faults, ctx.Err()
}

func (f *Folder) get(name, id string) (Token, error) {
	path := filepath.Join(f.dir, name)
	info, err := os.Stat(path)
	if err != nil {
		return Token{}, err
	}
	if !info.Mode().IsRegular() { // a pipe of that name would keep the reader waiting for good
		return Token{}, errors.New("it is not a regular file")
	}
	in, err := os.Open(path)
	if err != nil {
		return Token{}, err
	}
	defer in.Close()
	data, err := io.ReadAll(io.LimitReader(in, MaxRecord+1))
	if err != nil {
		return Token{}, err
	}
	if len(data) > MaxRecord {
		return Token{}, fmt.Errorf("it has more than %d bytes", MaxRecord)
	}
	return Decode(data, id)
}

// Create implements the store: durable when it returns, ErrExists when the id is taken.
func (f *Folder) Create(_ context.Context, t Token) error {
	data, err := t.Encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	own, err := os.CreateTemp(f.dir, ".new-*") // readable by its owner alone
	if err != nil {
		return err
	}
	defer os.Remove(own.Name())
	_, err = own.Write(append(data, '\n'))
	// The content before the name: after a crash there is no file of that name that is empty.
	if err := errors.Join(err, own.Sync(), own.Close()); err != nil {
		return err
	}
	if err := os.Link(own.Name(), f.path(t.ID)); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("token %s: %w", t.ID, ErrExists)
	} else if err != nil {
		return err
	}
	return f.sync()
}

// Delete implements the store: ErrNotFound when there is none.
func (f *Folder) Delete(_ context.Context, id string) error {
	if !IsID(id) {
		return fmt.Errorf("%q is not a token's id: %w", id, ErrNotFound)
	}
	err := os.Remove(f.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("token %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return err
	}
	return f.sync()
}

func (f *Folder) path(id string) string { return filepath.Join(f.dir, id+".json") }

// sync makes names durable, not only what is in the files.
func (f *Folder) sync() error {
	dir, err := os.Open(f.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
