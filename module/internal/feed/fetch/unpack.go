package fetch

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
)

// compressions are ways in which publishers compress lists, by the first bytes. gzip and zip are read.
var compressions = []struct{ name, start string }{
	{"gzip", "\x1f\x8b"},
	{"zip", "PK\x03\x04"},
	{"zip", "PK\x05\x06"}, // empty
	{"xz", "\xfd7zXZ\x00"},
	{"zstd", "\x28\xb5\x2f\xfd"},
	{"bzip2", "BZh91AY&SY"},
}

// Unpacker reads documents that may be compressed or in an archive.
type Unpacker struct {
	// MaxBytes is the size that a document may have, packed and unpacked.
	MaxBytes int64

	// ArchiveParts is set if a zip archive may hold several files, which together are the document.
	ArchiveParts bool

	// Redact removes secrets from a text that an error quotes.
	Redact func(text string) string
}

// Open returns the content of a file.
func (u *Unpacker) Open(r io.Reader) (io.Reader, error) { return u.unpack(Limit(r, u.MaxBytes)) }

// unpack returns the content of r, which may be compressed, whatever its headers say: many publishers
// offer a .gz or .zip file.
func (u *Unpacker) unpack(r io.Reader) (io.Reader, error) {
	const longest = 10 // of the first bytes
	buffered := bufio.NewReaderSize(r, 4<<10)
	start, _ := buffered.Peek(longest) // an error comes again from the next read
	for _, c := range compressions {
		if !bytes.HasPrefix(start, []byte(c.start)) {
			continue
		}
		var plain io.Reader
		var err error
		switch c.name {
		case "gzip":
			if plain, err = gzip.NewReader(buffered); err != nil {
				err = refuse(ErrNotText, "the list begins as gzip does, and is none: %w", err)
			}
		case "zip":
			plain, err = u.unzip(buffered)
		default:
			err = refuse(ErrNotText, "the list is compressed with %s, which is not read: "+
				"use the publisher's plain text, .gz or .zip file, or unpack yours", c.name)
		}
		if err != nil {
			return nil, err
		}
		return Limit(plain, u.MaxBytes), nil
	}
	return buffered, nil
}

// Limit returns a reader that fails after the given number of bytes, unless r ends there.
func Limit(r io.Reader, size int64) io.Reader { return &limitedReader{r: r, size: size, left: size} }

type limitedReader struct {
	r          io.Reader
	size, left int64
}

func (l *limitedReader) Read(b []byte) (int, error) {
	if int64(len(b)) > l.left+1 {
		b = b[:l.left+1]
	}
	n, err := l.r.Read(b)
	if l.left -= int64(n); l.left < 0 {
		l.left = 0
		return 0, refuse(ErrTooLarge, "the list is larger than %d bytes: allow more with `max_size` of a feed, "+
			"or split the list", l.size)
	}
	return n, err
}
