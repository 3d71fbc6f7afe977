package feed

import (
	"bytes"
	"compress/gzip"
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

func TestSmallAndLooseListsMayShrink(t *testing.T) {
	for _, test := range []struct {
		name   string
		shrink *float64
		before int
		after  int
		want   Result
	}{
		{name: "small", before: minGuarded - 1, after: 1, want: ResultOK},
		{name: "half is allowed", before: 20, after: 10, want: ResultOK},
		{name: "more is not", before: 20, after: 9, want: ResultShrunk},
		{name: "a set share", shrink: new(0.1), before: 100, after: 89, want: ResultShrunk},
		{name: "all", shrink: new(1.0), before: 100, after: 1, want: ResultOK},
		{name: "none", shrink: new(0.0), before: 100, after: 99, want: ResultShrunk},
		{name: "none, and it does not", shrink: new(0.0), before: 100, after: 101, want: ResultOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, url := serve(t, text(addresses(test.before)), text(addresses(test.after)))
			var seen results
			s := mustOpen(t, Options{Observe: seen.observe}, Spec{Name: "one", URLs: []string{url}, MaxShrink: test.shrink})
			if err := fetchNow(s, "one"); err != nil {
				t.Fatal(err)
			}
			_ = fetchNow(s, "one")
			if got := seen.last(t, "one"); got != test.want {
				t.Errorf("from %d to %d lines: got %s, want %s", test.before, test.after, got, test.want)
			}
		})
	}
}
