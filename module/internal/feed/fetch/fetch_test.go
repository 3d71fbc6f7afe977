package fetch

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns a client that is closed when the test ends.
func open(t *testing.T) *Client {
	c := New(nil)
	t.Cleanup(c.Close)
	return c
}

// get returns the document at a URL.
func get(c *Client, url string, header http.Header) (text string, err error) {
	d := &Document{URL: url, Header: header, Timeout: 10 * time.Second, Unpacker: Unpacker{
		MaxBytes: 1 << 20, Redact: func(text string) string { return text },
	}}
	_, _, err = c.Get(context.Background(), d, func(body io.Reader) error {
		read, err := io.ReadAll(body)
		text = string(read)
		return err
	})
	return text, err
}

// script is a server's answers, one after the other; the last one is repeated.
type script struct {
	mu       sync.Mutex
	answers  []http.HandlerFunc
	requests []*http.Request
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	answer := s.answers[min(len(s.requests), len(s.answers))-1]
	s.mu.Unlock()
	answer(w, r)
}

func (s *script) seen() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// serve serves answers on a loopback address.
func serve(t *testing.T, address string, answers ...http.HandlerFunc) (*script, string) {
	t.Helper()
	listener, err := net.Listen("tcp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{answers: answers}
	server := httptest.NewUnstartedServer(s)
	_ = server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return s, server.URL
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
}

// TestTimeLimitWhileParsing: nothing is awaited any more, and the time limit still ends the work.
func TestTimeLimitWhileParsing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	lines := 0
	d := &Document{Unpacker: Unpacker{MaxBytes: 1 << 40}}
	err := d.readBody(ctx, &http.Response{Body: &endless{}}, func(body io.Reader) error {
		in := bufio.NewScanner(body)
		for in.Scan() {
			if lines++; lines == 1000 {
				cancel()
			}
		}
		return in.Err()
	})
	if !errors.Is(err, context.Canceled) || lines > 100_000 {
		t.Errorf("%d lines, %v", lines, err)
	}
}

// endless is a document without an end.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	const line = "192.0.2.1\n"
	n := 0
	for ; n+len(line) <= len(b); n += len(line) {
		copy(b[n:], line)
	}
	return n, nil
}

func (endless) Close() error { return nil }
