package atomicfile

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func put(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// tree returns the contents of all files below dir, and "/" for folders.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		if d.IsDir() {
			all[path] = "/"
			return nil
		}
		text, err := os.ReadFile(filepath.Join(dir, path))
		all[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func checkTree(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("what is on disk differs (-want +got):\n%s", diff)
	}
}

func TestWrite(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 10_000)
	tests := map[string]struct {
		before func(t *testing.T, dir string)
		text   string
		want   map[string]string
	}{
		"no folder":       {text: "new", want: map[string]string{"a": "/", "a/b": "/", "a/b/file": "new"}},
		"no file":         {before: folder, text: "new", want: map[string]string{"a": "/", "a/b": "/", "a/b/file": "new"}},
		"longer than one": {before: old, text: long, want: map[string]string{"a": "/", "a/b": "/", "a/b/file": long}},
		"shorter":         {before: old, text: "n", want: map[string]string{"a": "/", "a/b": "/", "a/b/file": "n"}},
		"empty":           {before: old, text: "", want: map[string]string{"a": "/", "a/b": "/", "a/b/file": ""}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if test.before != nil {
				test.before(t, dir)
			}
			path := filepath.Join(dir, "a", "b", "file")
			if err := WriteBytes(path, []byte(test.text)); err != nil {
				t.Fatal(err)
			}
			checkTree(t, dir, test.want)
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the file's mode is %v, %v, want 0600", info, err)
			}
		})
	}
}

func folder(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func old(t *testing.T, dir string) {
	t.Helper()
	folder(t, dir)
	put(t, filepath.Join(dir, "a", "b", "file"), "old", 0o644)
}

func TestNewFoldersAreTheOwners(t *testing.T) {
	dir := t.TempDir()
	if err := WriteBytes(filepath.Join(dir, "a", "b", "file"), nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "a/b"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the mode of %s is %v, %v, want 0700", name, info, err)
		}
	}
}

var errWriter = errors.New("no more to write")

func TestFailure(t *testing.T) {
	good := func(w io.Writer) error {
		_, err := io.WriteString(w, "new")
		return err
	}
	failing := func(w io.Writer) error {
		if _, err := w.Write(make([]byte, 100_000)); err != nil { // more than any buffer holds
			return err
		}
		return errWriter
	}
	tests := map[string]struct {
		before func(t *testing.T, dir string)
		write  func(io.Writer) error
		cause  error // nil: the system's
	}{
		// files and folders in each other's place fail for every user, root included
		"a file in place of the folder": {
			before: func(t *testing.T, dir string) { put(t, filepath.Join(dir, "a"), "in the way", 0o600) },
			write:  good,
		},
		"a folder in place of the file": {
			before: func(t *testing.T, dir string) {
				folder(t, dir)
				if err := os.MkdirAll(filepath.Join(dir, "a", "b", "file", "in the way"), 0o700); err != nil {
					t.Fatal(err)
				}
			},
			write: good,
		},
		"the writer fails over an old file": {before: old, write: failing, cause: errWriter},
		"the writer fails without one":      {before: folder, write: failing, cause: errWriter},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			test.before(t, dir)
			before := tree(t, dir)
			path := filepath.Join(dir, "a", "b", "file")
			err := Write(path, test.write)
			if err == nil || !strings.HasPrefix(err.Error(), "replace "+path+": ") || test.cause != nil && !errors.Is(err, test.cause) {
				t.Errorf("got error %v", err)
			}
			checkTree(t, dir, before)
		})
	}
}

func TestAPanicLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	old(t, dir)
	before := tree(t, dir)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = Write(filepath.Join(dir, "a", "b", "file"), func(io.Writer) error { panic("while writing") })
	}()
	checkTree(t, dir, before)
}

// TestConcurrentWriters: whoever reads meanwhile, and after, finds what one of them wrote, whole.
func TestConcurrentWriters(t *testing.T) {
	const writers, rounds, pieces, piece = 8, 10, 20, 1000
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	check := func() {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		} else if len(text) != pieces*piece || !bytes.Equal(text, bytes.Repeat(text[:1], len(text))) {
			t.Errorf("%d bytes, some of another writer", len(text))
		}
	}
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			part := bytes.Repeat([]byte{byte('a' + i)}, piece)
			for range rounds {
				err := Write(path, func(w io.Writer) error {
					for range pieces {
						if _, err := w.Write(part); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				check()
			}
		})
	}
	group.Wait()
	check()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("the folder holds %v, %v, want the file alone", left, err)
	}
}

// tempName returns a name under which Write has written the file of the given name.
func tempName(t *testing.T, name string) (temp string) {
	t.Helper()
	dir := t.TempDir()
	err := Write(filepath.Join(dir, name), func(io.Writer) error {
		entries, err := os.ReadDir(dir)
		if err == nil {
			temp = entries[0].Name()
		}
		return err
	})
	if err != nil || temp == "" || temp == name {
		t.Fatalf("Write writes to %q, %v", temp, err)
	}
	return temp
}

func TestLeftovers(t *testing.T) {
	tests := map[string]func(dir string) error{
		"Clean": func(dir string) error {
			Clean(dir)
			return nil
		},
		"Write": func(dir string) error { return WriteBytes(filepath.Join(dir, "file"), []byte("old")) },
	}
	for name, act := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "no [pattern") // a folder's name is not one
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			leave := func(path string, age time.Duration) {
				at := time.Now().Add(-age)
				if err := os.Chtimes(path, at, at); err != nil {
					t.Fatal(err)
				}
			}
			put(t, filepath.Join(dir, "file"), "old", 0o600)
			put(t, filepath.Join(dir, "file.mine.tmp"), "somebody's", 0o600)
			put(t, filepath.Join(dir, "file.123.tmp"), "may be in use", 0o600)
			for _, name := range []string{"file", "file.mine.tmp"} {
				leave(filepath.Join(dir, name), 2*abandoned)
			}
			leave(filepath.Join(dir, "file.123.tmp"), abandoned/2)
			// a write that was killed halfway, of this file and of another
			for _, name := range []string{"file", "another"} {
				killed := filepath.Join(dir, tempName(t, name))
				put(t, killed, "half a fi", 0o600)
				leave(killed, 2*abandoned)
			}
			if err := act(dir); err != nil {
				t.Fatal(err)
			}
			checkTree(t, dir, map[string]string{"file": "old", "file.mine.tmp": "somebody's", "file.123.tmp": "may be in use"})
		})
	}
}

func TestCleanWithoutAFolder(t *testing.T) {
	dir := t.TempDir()
	Clean(filepath.Join(dir, "none"))
	checkTree(t, dir, map[string]string{})
}
