package feed

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// zipped returns an archive of files, given as names and contents in turn.
func zipped(files ...string) string {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := w.Create(files[i])
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(f, files[i+1])
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

// TestCompressionIsRecognisedByContent: headers and names of files say nothing.
func TestCompressionIsRecognisedByContent(t *testing.T) {
	list := addresses(20)
	archive := zipped("data/", "", "data/list.txt", list, "__MACOSX/data/._list.txt", "\x00\x05")
	for name, answer := range map[string]http.HandlerFunc{
		"gzip":                       text(compressed([]byte(list))),
		"zip":                        text(archive),
		"zip, encoded as gzip":       gzipped([]byte(archive)),
		"gzip, encoded as gzip":      gzipped([]byte(compressed([]byte(list)))),
		"text that claims to be":     rawGzip([]byte(list)),
		"zip that claims to be gzip": rawGzip([]byte(archive)),
	} {
		t.Run(name, func(t *testing.T) {
			_, url := serve(t, answer)
			s := mustOpen(t, Options{}, Spec{Name: "one", URLs: []string{url}})
			if err := fetchNow(s, "one"); err != nil || !isListed(s.Current(), "198.51.100.7", "one") {
				t.Errorf("the list is not in force: %v", err)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "list.txt")
	write(t, file, archive)
	s := mustOpen(t, Options{}, Spec{Name: "two", File: file, Own: true})
	if !isListed(s.Current(), "198.51.100.7", "two") {
		t.Error("the file is not in force")
	}
}

func TestArchivesThatAreNoList(t *testing.T) {
	many := []string{}
	for i := range maxArchived + 1 {
		many = append(many, fmt.Sprint(i), "192.0.2.1")
	}
	noise := make([]byte, maxArchive)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	broken := zipped("a", addresses(20))
	encrypted := []byte(zipped("a", addresses(20)))
	for _, header := range []string{"PK\x03\x04", "PK\x01\x02"} {
		flags := 6
		if header == "PK\x01\x02" {
			flags = 8
		}
		encrypted[bytes.Index(encrypted, []byte(header))+flags] |= 1
	}
	for name, test := range map[string]struct {
		body string
		want Result
		says string
	}{
		"two files":    {zipped("akamai_v4.txt", "192.0.2.1", "akamai_v6.txt", "2001:db8::1"), ResultNotText, `holds 2 files ("akamai_v4.txt", "akamai_v6.txt"), and a list is one`},
		"a secret":     {zipped("s3cr3t-key", "192.0.2.1", "b", ""), ResultNotText, `("[redacted]", "b")`},
		"no file":      {zipped("a/", ""), ResultNotText, "holds 0 files, and"},
		"empty":        {zipped(), ResultNotText, "holds 0 files, and"},
		"many files":   {zipped(many...), ResultTooLarge, "more than 100 files"},
		"large":        {zipped("a", string(noise)), ResultTooLarge, "larger than 16777216 bytes"},
		"bomb":         {zipped("a", strings.Repeat("# zeros\n", 1<<20)), ResultTooLarge, "larger than 4194304 bytes"},
		"breaks off":   {broken[:len(broken)-9], ResultNotText, "begins as a zip archive does, and is none"},
		"wrong inside": {strings.Replace(broken, broken[40:44], "\xff\xff\xff\xff", 1), ResultError, ""},
		"encrypted":    {string(encrypted), ResultNotText, "is encrypted"},
		"a page":       {zipped("a", "<html>"), ResultHTML, ""},
		"an archive":   {zipped("a", zipped("b", addresses(20))), ResultNotText, ""},
	} {
		t.Run(name, func(t *testing.T) {
			spec, err := Spec{Name: "one", URLs: []string{"https://192.0.2.1/?key=s3cr3t-key"}, MaxBytes: 4 << 20}.complete()
			if err != nil {
				t.Fatal(err)
			}
			body, err := spec.decompress(strings.NewReader(test.body))
			if err == nil {
				err = spec.read(body, false, spec.newContent())
			}
			var f *failure
			if result := classify(err); err == nil || result != test.want || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %s, %v, want %s saying %q", result, err, test.want, test.says)
			}
			if errors.As(err, &f) && strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("the secret is in %v", err)
			}
		})
	}
}

// FuzzDecompress: whatever is compressed how, no more is read than may be.
func FuzzDecompress(f *testing.F) {
	for _, body := range []string{zipped("a", "192.0.2.1\n"), compressed([]byte("192.0.2.1\n")), zipped("a/", "", "b", "x", "c", "y"), "PK\x05\x06", "BZh91AY&SY"} {
		f.Add([]byte(body))
	}
	spec := Spec{MaxBytes: 1 << 12}
	f.Fuzz(func(t *testing.T, body []byte) {
		plain, err := spec.decompress(limit(bytes.NewReader(body), spec.MaxBytes))
		if err != nil {
			return
		}
		if n, _ := io.Copy(io.Discard, plain); n > spec.MaxBytes {
			t.Errorf("%d bytes were read", n)
		}
	})
}
