package feed

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
)

// unpacking sends the gzip of a text that is followed by size bytes of copies of another.
func unpacking(t *testing.T, start, again string, size int) http.HandlerFunc {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	block := bytes.Repeat([]byte(again), (64<<10)/len(again))
	_, _ = w.Write([]byte(start))
	for written := 0; written < size; written += len(block) {
		_, _ = w.Write(block)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return rawGzip(b.Bytes())
}

// TestMemoryOfAFetch: a list of a few KB on the wire takes memory for what it may hold, whatever it unpacks to.
func TestMemoryOfAFetch(t *testing.T) {
	const size, most = 4 << 20, 4 << 20
	field := listformat.Format{Encoding: listformat.JSON, Members: []string{"ip"}}
	column := listformat.Format{Encoding: listformat.CSV, Members: []string{"ip"}}
	for _, test := range []struct {
		name         string
		format       listformat.Format
		start, again string
		want         Result
	}{
		{"one address, over and over", listformat.Format{}, "", "192.0.2.1\n", ResultOK},
		{"nested arrays", field, `{"x":{"y":`, "[", ResultUnparsable},
		{"nested objects", field, `{"x":`, `{"":`, ResultUnparsable},
		{"a header of commas", column, "", ",", ResultUnparsable},
		{"an open quote", column, "ip,x\n\"", "192.0.2.1,\n", ResultOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, url := serve(t, unpacking(t, test.start, test.again, size))
			var seen results
			s := mustOpen(t, Options{Observe: seen.observe}, Spec{Name: "one", URLs: []string{url}, Format: test.format})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := fetchNow(s, "one")
			runtime.ReadMemStats(&after)
			if got := seen.last(t, "one"); got != test.want {
				t.Errorf("got %s, %v, want %s", got, err, test.want)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > most {
				t.Errorf("%d bytes were allocated, want at most %d", took, most)
			}
			if status := statusOf(t, s, "one"); test.want == ResultOK && (status.Entries != 1 || status.Lines < size/11) {
				t.Errorf("status: %+v", status)
			}
		})
	}
}

// TestMaxEntries: what counts is the number of ranges after merging.
func TestMaxEntries(t *testing.T) {
	apart := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "198.%d.%d.%d\n", 51+i>>15, i>>7&255, i<<1&255)
		}
		return b.String()
	}
	for _, test := range []struct {
		name string
		body string
		most int
		want Result
	}{
		{"as many", apart(100), 100, ResultOK},
		{"one more", apart(101), 100, ResultTooLarge},
		{"neighbours", addresses(200), 100, ResultOK},
		{"duplicates", strings.Repeat(apart(100), 3), 100, ResultOK},
		{"many more", apart(200_000), 100_000, ResultTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, url := serve(t, text(test.body))
			var seen results
			s := mustOpen(t, Options{Observe: seen.observe}, Spec{Name: "one", URLs: []string{url}, MaxEntries: test.most})
			err := fetchNow(s, "one")
			if got := seen.last(t, "one"); got != test.want || err != nil && !strings.Contains(err.Error(), "raise max_entries of the feed") {
				t.Errorf("got %s, %v, want %s", got, err, test.want)
			}
		})
	}
}

// TestLongHeaders: whatever a publisher writes in front of a list is short in the log and in the status.
func TestLongHeaders(t *testing.T) {
	const secret = "s3cr3t-key"
	long := strings.Repeat("letters", 8_500)
	for name, answer := range map[string]string{
		"status line":  "HTTP/1.1 200" + long + "\r\n\r\n",
		"no status":    long + "\r\n\r\n",
		"protocol":     long + " 200 OK\r\n\r\n",
		"location":     "HTTP/1.1 302 Found\r\nLocation: http://" + strings.Repeat("x", 60_000) + "/\r\n\r\n",
		"bad location": "HTTP/1.1 302 Found\r\nLocation: http://%zz/" + secret + strings.Repeat("x", 60_000) + "\r\n\r\n",
		"encoding":     "HTTP/1.1 200 OK\r\nContent-Encoding: " + long + "\r\n\r\n",
		"length":       "HTTP/1.1 200 OK\r\nContent-Length: " + long + "\r\n\r\n",
		"transfer":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + long + "\r\n\r\n",
		"type":         "HTTP/1.1 200 OK\r\nContent-Type: " + long + "\r\n\r\n<html>",
		"headers":      "HTTP/1.1 200 OK\r\nETag: " + strings.Repeat("x", 128<<10) + "\r\n\r\n192.0.2.1\n",
		"retry after":  "HTTP/1.1 429 Too Many Requests\r\nRetry-After: " + long + "\r\n\r\n",
		"control":      "HTTP/1.1 \x1b[31mred\x1b[0m\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			url := rawServer(t, answer)
			var log bytes.Buffer
			s := mustOpen(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))},
				Spec{Name: "one", URLs: []string{url + "/?key=" + secret}, Timeout: 5 * time.Second})
			err := fetchNow(s, "one")
			status := statusOf(t, s, "one")
			if err == nil || len(status.LastError) > 500 || log.Len() > 1500 {
				t.Errorf("%v; status: %d bytes, log: %d bytes: %.400s", err, len(status.LastError), log.Len(), status.LastError)
			}
			if strings.Contains(log.String(), secret) || strings.Contains(status.LastError, "\x1b") {
				t.Errorf("%q", status.LastError)
			}
		})
	}
}

// rawServer answers every connection with the same bytes.
func rawServer(t *testing.T, answer string) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = conn.Write([]byte(answer))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return "http://" + listener.Addr().String()
}
