package fetch

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

func compressed(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// TestRefusedArchives proves which archives are refused, and that an error names the files without a secret.
func TestRefusedArchives(t *testing.T) {
	list := strings.Repeat("198.51.100.7\n", 20)
	many := []string{}
	for i := range maxArchived + 1 {
		many = append(many, fmt.Sprint(i), "192.0.2.1")
	}
	noise := make([]byte, maxArchive)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	broken := zipped("a", list)
	encrypted := []byte(zipped("a", list))
	for _, header := range []string{"PK\x03\x04", "PK\x01\x02"} {
		flags := 6
		if header == "PK\x01\x02" {
			flags = 8
		}
		encrypted[bytes.Index(encrypted, []byte(header))+flags] |= 1
	}
	for name, test := range map[string]struct {
		body string
		want error
		says string
	}{
		"two files":    {zipped("akamai_v4.txt", "192.0.2.1", "akamai_v6.txt", "2001:db8::1"), ErrNotText, `holds 2 files ("akamai_v4.txt", "akamai_v6.txt"), and a list is one`},
		"a secret":     {zipped("s3cr3t-key", "192.0.2.1", "b", ""), ErrNotText, `("[redacted]", "b")`},
		"no file":      {zipped("a/", ""), ErrNotText, "holds 0 files, and"},
		"empty":        {zipped(), ErrNotText, "holds 0 files, and"},
		"many files":   {zipped(many...), ErrTooLarge, "more than 100 files"},
		"large":        {zipped("a", string(noise)), ErrTooLarge, "larger than 16777216 bytes"},
		"bomb":         {zipped("a", strings.Repeat("# zeros\n", 1<<20)), ErrTooLarge, "larger than 4194304 bytes"},
		"breaks off":   {broken[:len(broken)-9], ErrNotText, "begins as a zip archive does, and is none"},
		"wrong inside": {strings.Replace(broken, broken[40:44], "\xff\xff\xff\xff", 1), io.ErrUnexpectedEOF, ""},
		"encrypted":    {string(encrypted), ErrNotText, "is encrypted"},
	} {
		t.Run(name, func(t *testing.T) {
			u := &Unpacker{MaxBytes: 4 << 20, Redact: func(text string) string {
				return strings.ReplaceAll(text, "s3cr3t-key", "[redacted]")
			}}
			body, err := u.unpack(strings.NewReader(test.body))
			if err == nil {
				_, err = io.Copy(io.Discard, body)
			}
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %v saying %q", err, test.want, test.says)
			}
			if err != nil && strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("the secret is in %v", err)
			}
		})
	}
}

// FuzzUnpack: whatever is compressed how, no more is read than may be.
func FuzzUnpack(f *testing.F) {
	for _, body := range []string{zipped("a", "192.0.2.1\n"), compressed("192.0.2.1\n"), zipped("a/", "", "b", "x", "c", "y"), "PK\x05\x06", "BZh91AY&SY"} {
		f.Add([]byte(body))
	}
	u := &Unpacker{MaxBytes: 1 << 12, Redact: func(text string) string { return text }}
	f.Fuzz(func(t *testing.T, body []byte) {
		plain, err := u.Open(bytes.NewReader(body))
		if err != nil {
			return
		}
		if n, _ := io.Copy(io.Discard, plain); n > u.MaxBytes {
			t.Errorf("%d bytes were read", n)
		}
	})
}
