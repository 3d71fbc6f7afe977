// Package regularfile reads files that are regular and no larger than they may be. In place of a
// file, a named pipe would keep its reader waiting for ever, and a sparse file of terabytes busy.
package regularfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"syscall"
)

// Errors that Open and Read return, wrapped, besides those of os.Open.
var (
	// ErrNotRegular means that the path leads to a folder, named pipe, socket or device.
	ErrNotRegular = errors.New("not a regular file")

	// ErrTooLarge means that the file is larger than it may be.
	ErrTooLarge = errors.New("larger than it may be")
)

// Open opens a file for reading that has at most the given number of bytes. Symbolic links are
// followed. It never waits for anything but the disk.
func Open(path string, most int64) (*os.File, fs.FileInfo, error) {
	return open(path, os.O_RDONLY, most)
}

// OpenToChange is Open for reading and writing.
func OpenToChange(path string, most int64) (*os.File, fs.FileInfo, error) {
	return open(path, os.O_RDWR, most)
}

func open(path string, flag int, most int64) (*os.File, fs.FileInfo, error) {
	// Opening a device can have effects, and opening a socket fails with another error.
	if info, err := os.Stat(path); err == nil {
		if err := check(path, info, most); err != nil {
			return nil, nil, err
		}
	}
	f, err := os.OpenFile(path, flag|syscall.O_NONBLOCK, 0) // a named pipe may have taken its place
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = check(path, info, most)
	}
	if err != nil {
		_ = f.Close() // only read
		return nil, nil, err
	}
	return f, info, nil
}

func check(path string, info fs.FileInfo, most int64) error {
	switch {
	case !info.Mode().IsRegular():
		return &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	case info.Size() > most:
		return &fs.PathError{Op: "open", Path: path,
			Err: fmt.Errorf("%w: %d bytes instead of at most %d", ErrTooLarge, info.Size(), most)}
	}
	return nil
}

// Read returns the contents of a file that has at most the given number of bytes.
func Read(path string, most int64) ([]byte, error) {
	f, _, err := Open(path, most)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most { // it has grown
		err = &fs.PathError{Op: "read", Path: path, Err: ErrTooLarge}
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

var filePlaceholder = regexp.MustCompile(`\{file\.([^{}]+)\}`)

// CheckPlaceholders returns an error if a placeholder of Caddy, such as {file./run/secrets/key},
// names something that is there and is not a regular file. Caddy would wait for it.
func CheckPlaceholders(text string) error {
	for _, m := range filePlaceholder.FindAllStringSubmatch(text, -1) {
		if info, err := os.Stat(m[1]); err == nil && !info.Mode().IsRegular() {
			return &fs.PathError{Op: "open", Path: m[1], Err: ErrNotRegular}
		}
	}
	return nil
}
