package feed

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

// decompress returns the content of r, which may be compressed, whatever its headers say: many publishers
// offer a .gz or .zip file. The size is bounded after decompression as well.
func (s *Spec) decompress(r io.Reader) (io.Reader, error) {
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
				err = refuse(ResultNotText, "the list begins as gzip does, and is none: %w", err)
			}
		case "zip":
			plain, err = s.unzip(buffered)
		default:
			err = refuse(ResultNotText, "the list is compressed with %s, which is not read: "+
				"use the publisher's plain text, .gz or .zip file, or unpack yours", c.name)
		}
		if err != nil {
			return nil, err
		}
		return limit(plain, s.MaxBytes), nil
	}
	return buffered, nil
}
