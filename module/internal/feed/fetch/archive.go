package fetch

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"path"
	"strings"
)

const (
	// maxArchive is the size that a zip archive may have: it is read into memory, since its directory is
	// at its end.
	maxArchive = 16 << 20

	// maxArchived is how many files an archive may have. Each takes memory before it is looked at.
	maxArchived = 100
)

// unzip returns the content of the only file with data in an archive, or of all if they are parts.
func (u *Unpacker) unzip(r io.Reader) (io.Reader, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxArchive+1))
	if err != nil {
		return nil, err
	}
	switch {
	case len(body) > maxArchive:
		return nil, refuse(ErrTooLarge, "the zip archive is larger than %d bytes: use the publisher's plain text or "+
			".gz file, or unpack yours", maxArchive)
	case bytes.Count(body, []byte("PK\x01\x02")) > maxArchived:
		return nil, refuse(ErrTooLarge, "the zip archive holds more than %d files: unpack the one that is the list",
			maxArchived)
	}
	archive, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return nil, refuse(ErrNotText, "the list begins as a zip archive does, and is none: %w", err)
	}
	var files []*zip.File
	for _, f := range archive.File {
		if !isSidecar(f.Name) {
			files = append(files, f)
		}
	}
	if len(files) == 0 || len(files) > 1 && !u.ArchiveParts {
		return nil, refuse(ErrNotText, "the zip archive holds %d files%s, and a list is one: use the publisher's "+
			"plain text or .gz file, or unpack the one that is the list", len(files), u.names(files))
	}
	var parts []io.Reader
	for _, file := range files {
		const encrypted = 1
		if file.Flags&encrypted != 0 {
			return nil, refuse(ErrNotText, "the zip archive is encrypted, which is not read: unpack yours")
		}
		plain, err := file.Open()
		if err != nil {
			return nil, refuse(ErrNotText, "the zip archive cannot be read: %w", err)
		}
		parts = append(parts, plain, strings.NewReader("\n")) // the last line of a file may have no end
	}
	return io.MultiReader(parts...), nil
}

// isSidecar reports whether an entry of an archive is a folder, or what macOS stores beside a file.
func isSidecar(name string) bool {
	return strings.HasSuffix(name, "/") || strings.HasPrefix(name, "__MACOSX/") || strings.HasPrefix(path.Base(name), "._")
}

// names returns the names of some files, for an error.
func (u *Unpacker) names(files []*zip.File) string {
	const shown = 5
	var text []string
	for _, f := range files[:min(len(files), shown)] {
		text = append(text, fmt.Sprintf("%.40q", u.Redact(f.Name)))
	}
	if len(files) > shown {
		text = append(text, "...")
	}
	if len(text) == 0 {
		return ""
	}
	return " (" + strings.Join(text, ", ") + ")"
}
