package feed

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

// unzip returns the content of the only file with data in an archive.
func (s *Spec) unzip(r io.Reader) (io.Reader, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxArchive+1))
	if err != nil {
		return nil, err
	}
	switch {
	case len(body) > maxArchive:
		return nil, refuse(ResultTooLarge, "the zip archive is larger than %d bytes: use the publisher's plain text or "+
			".gz file, or unpack yours", maxArchive)
	case bytes.Count(body, []byte("PK\x01\x02")) > maxArchived:
		return nil, refuse(ResultTooLarge, "the zip archive holds more than %d files: unpack the one that is the list",
			maxArchived)
	}
	archive, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return nil, refuse(ResultNotText, "the list begins as a zip archive does, and is none: %w", err)
	}
	var files []*zip.File
	for _, f := range archive.File {
		if !isSidecar(f.Name) {
			files = append(files, f)
		}
	}
	if len(files) != 1 {
		return nil, refuse(ResultNotText, "the zip archive holds %d files%s, and a list is one: use the publisher's "+
			"plain text or .gz file, or unpack the one that is the list", len(files), s.names(files))
	}
	const encrypted = 1
	if files[0].Flags&encrypted != 0 {
		return nil, refuse(ResultNotText, "the zip archive is encrypted, which is not read: unpack yours")
	}
	plain, err := files[0].Open()
	if err != nil {
		return nil, refuse(ResultNotText, "the zip archive cannot be read: %w", err)
	}
	return plain, nil
}

// isSidecar reports whether an entry of an archive is a folder, or what macOS stores beside a file.
func isSidecar(name string) bool {
	return strings.HasSuffix(name, "/") || strings.HasPrefix(name, "__MACOSX/") || strings.HasPrefix(path.Base(name), "._")
}

// names returns the names of some files, for an error.
func (s *Spec) names(files []*zip.File) string {
	const shown = 5
	var text []string
	for _, f := range files[:min(len(files), shown)] {
		text = append(text, fmt.Sprintf("%.40q", s.scrub(f.Name)))
	}
	if len(files) > shown {
		text = append(text, "...")
	}
	if len(text) == 0 {
		return ""
	}
	return " (" + strings.Join(text, ", ") + ")"
}
