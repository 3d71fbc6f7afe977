package feed

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

func gzipped(body []byte) http.HandlerFunc { return rawGzip([]byte(compressed(body))) }

func compressed(body []byte) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(body)
	_ = w.Close()
	return b.String()
}

// gzipFile serves a compressed file as what it is.
func gzipFile(body []byte) http.HandlerFunc { return text(compressed(body)) }

// hijack answers with these bytes and hangs up.
func hijack(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, out, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = out.WriteString(answer)
		_ = out.Flush()
		_ = conn.Close()
	}
}

func rawGzip(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.WriteHeader(http.StatusNotAcceptable)
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(body)
	}
}

func TestGzip(t *testing.T) {
	_, url := serve(t, gzipped([]byte(addresses(20))))
	s := mustOpen(t, Options{}, Spec{Name: "one", URLs: []string{url}})
	if err := fetchNow(s, "one"); err != nil {
		t.Fatal(err)
	}
	if !isListed(s.Current(), "198.51.100.7", "one") {
		t.Error("the compressed list is not in force")
	}
}

// TestGzipFile proves that a list may be a .gz file, which the publisher does not announce as an encoding.
func TestGzipFile(t *testing.T) {
	_, url := serve(t, gzipFile([]byte(addresses(20))))
	file := filepath.Join(t.TempDir(), "list.gz")
	write(t, file, compressed([]byte(addresses(20))))
	s := mustOpen(t, Options{}, Spec{Name: "one", URLs: []string{url}}, Spec{Name: "two", File: file})
	if err := fetchNow(s, "one"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two"} {
		if !isListed(s.Current(), "198.51.100.7", name) {
			t.Errorf("the compressed list %s is not in force", name)
		}
	}
}

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

// TestArchivesThatAreNoList proves that what is in an archive is judged as any other list is.
func TestArchivesThatAreNoList(t *testing.T) {
	broken := zipped("a", addresses(20))
	for name, test := range map[string]struct {
		body string
		want Result
	}{
		"bomb":         {zipped("a", strings.Repeat("# zeros\n", 1<<20)), ResultTooLarge},
		"two files":    {zipped("a", "192.0.2.1", "b", "192.0.2.2"), ResultNotText},
		"wrong inside": {strings.Replace(broken, broken[40:44], "\xff\xff\xff\xff", 1), ResultError},
		"a page":       {zipped("a", "<html>"), ResultHTML},
		"an archive":   {zipped("a", zipped("b", addresses(20))), ResultNotText},
	} {
		t.Run(name, func(t *testing.T) {
			_, url := serve(t, text(test.body))
			file := filepath.Join(t.TempDir(), "list.zip")
			write(t, file, test.body)
			for _, spec := range []Spec{{Name: "one", URLs: []string{url}}, {Name: "one", File: file}} {
				spec.MaxBytes = 4 << 20
				s := mustOpen(t, Options{}, spec)
				if err := fetchNow(s, "one"); err == nil || ResultOf(err) != test.want {
					t.Errorf("got %s, %v, want %s", ResultOf(err), err, test.want)
				}
			}
		})
	}
}
