// Package atomicfile replaces files atomically: after a crash there is the old file or the new one.
package atomicfile

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	tempSuffix = ".tmp"
	leftovers  = "*.[0-9]*" + tempSuffix

	// abandoned is the age at which a temporary file is a leftover: no write takes that long.
	abandoned = time.Hour
)

// Write replaces the file at path with what write writes, for its owner only (mode 0600). It makes the folder if there
// is none (mode 0700). The writer is buffered. When Write returns nil, the new contents are on disk; when it fails, the
// old file is as it was, the error names path and wraps the cause, and Failing names the file until it can be written. Of
// concurrent writers the last one to end wins.
func Write(path string, write func(io.Writer) error) error {
	err := WriteNew(path, write)
	remember(path, err)
	return err
}

// WriteNew is Write for a file that is written only once. Failing does not name it.
func WriteNew(path string, write func(io.Writer) error) error {
	if err := replace(path, write); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return nil
}

// WriteBytes is Write for contents that are in memory.
func WriteBytes(path string, data []byte) error {
	return Write(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

func replace(path string, write func(io.Writer) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	Clean(dir)
	// In the same folder, because a file cannot be renamed to another disk. CreateTemp gives it mode 0600.
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*"+tempSuffix)
	if err != nil {
		return err
	}
	replaced := false
	defer func() { // also when write panics
		if !replaced {
			_ = f.Close() // may be closed already
			_ = os.Remove(f.Name())
		}
	}()
	if err := fill(f, write); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	replaced = true
	syncDir(dir)
	return nil
}

// fill writes, syncs and closes f. The contents must be on disk before the rename: otherwise a loss of power
// could leave an empty file under the final name.
func fill(f *os.File, write func(io.Writer) error) error {
	w := bufio.NewWriter(f)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// syncDir makes the new name survive a loss of power. Not every system can do that to a folder; without it the old file
// may come back, whole.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

// Clean removes leftovers of interrupted writes, older than an hour, from a folder. Write does so itself;
// Clean is for folders whose files may stay unchanged for long.
func Clean(dir string) {
	names, _ := fs.Glob(os.DirFS(dir), leftovers) // the pattern is right, and nothing else is reported
	for _, name := range names {
		path := filepath.Join(dir, name)
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > abandoned {
			_ = os.Remove(path)
		}
	}
}
