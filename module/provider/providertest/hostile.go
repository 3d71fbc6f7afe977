package providertest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// once returns a check that asks a service with the given handler once, and expects
// one of the results.
func (s *suite) once(name string, handler http.HandlerFunc, results ...reputation.Result) check {
	return check{name, func(tb testing.TB) error {
		t := s.fixture(tb, handler)
		o, err := t.ask(tb.Context(), s.sample.Addr)
		return errors.Join(err, o.want(results...), t.wantRequests(1))
	}}
}

// connectionChecks are about services that are down, slow or stop answering.
func (s *suite) connectionChecks() []check {
	half := s.sample.Body[:len(s.sample.Body)/2]
	return []check{
		{"connection/refused", s.refused},
		s.whileWaiting("connection/hanging", func(w http.ResponseWriter) {}),
		s.whileWaiting("connection/hanging in the body", func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", s.sample.Header.Get("Content-Type"))
			_, _ = io.WriteString(w, half)
			_ = http.NewResponseController(w).Flush()
		}),
		{"connection/dripping", s.dripping},
		{"connection/another protocol", s.anotherProtocol},
		{"connection/cancelled while waiting", func(tb testing.TB) error {
			ctx, cancel := context.WithCancel(tb.Context())
			defer cancel()
			t := s.fixture(tb, func(_ http.ResponseWriter, r *http.Request) {
				cancel()
				<-r.Context().Done()
			})
			o, err := t.ask(ctx, s.sample.Addr)
			return errors.Join(err, o.want(reputation.ResultError, reputation.ResultTimeout), t.wantRequests(1))
		}},
		s.once("connection/closed without an answer", func(w http.ResponseWriter, _ *http.Request) {
			hangUp(w, "")
		}, reputation.ResultError),
		s.once("connection/reset in the body", func(w http.ResponseWriter, _ *http.Request) {
			hangUp(w,
				fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
					len(s.sample.Body), half))
		}, reputation.ResultError, reputation.ResultBadAnswer),
	}
}

// refused asks at a closed port.
func (s *suite) refused(tb testing.TB) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // returns at once
	if err != nil {
		return err
	}
	t := &fixture{timeout: s.timeout, key: s.testKey(),
		baseURL: "http://" + listener.Addr().String() + basePath}
	if err := listener.Close(); err != nil {
		return err
	}
	t.provider = s.New(tb, t.baseURL)
	o, err := t.ask(tb.Context(), s.sample.Addr)
	return errors.Join(err, o.want(reputation.ResultError))
}

// whileWaiting returns a check in which the service sends what begin writes, and then nothing until
// the deadline passes.
func (s *suite) whileWaiting(name string, begin func(w http.ResponseWriter)) check {
	return check{name, func(tb testing.TB) error {
		ctx := newManualDeadline()
		t := s.fixture(tb, func(w http.ResponseWriter, r *http.Request) {
			begin(w)
			ctx.expire()
			<-r.Context().Done()
		})
		o, err := t.ask(ctx, s.sample.Addr)
		return errors.Join(err, o.want(reputation.ResultTimeout), t.wantRequests(1))
	}}
}

// dripping lets the deadline pass while the service sends single bytes without end.
func (s *suite) dripping(tb testing.TB) error {
	ctx := newManualDeadline()
	t := s.fixture(tb, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", s.sample.Header.Get("Content-Type"))
		for sent := 0; r.Context().Err() == nil; sent++ {
			if sent == 20 {
				ctx.expire()
			}
			if _, err := w.Write([]byte{' '}); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			time.Sleep(time.Millisecond) // so slow that no provider reaches its size limit first
		}
	})
	o, err := t.ask(ctx, s.sample.Addr)
	return errors.Join(err, o.want(reputation.ResultTimeout), t.wantRequests(1))
}

// anotherProtocol says that the connection has another protocol from now on, which nobody has asked for. What net/http
// has as the body of such an answer is the connection itself, which does not close when the context ends.
func (s *suite) anotherProtocol(tb testing.TB) error {
	ctx := newManualDeadline()
	defer time.AfterFunc(s.timeout/2, ctx.expire).Stop()
	t := s.fixture(tb, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		tb.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: acme\r\n\r\n")
	})
	o, err := t.ask(ctx, s.sample.Addr)
	return errors.Join(err, o.want(reputation.ResultBadAnswer, reputation.ResultError, reputation.ResultTimeout),
		t.wantRequests(1))
}

// hangUp writes raw bytes and resets the connection.
func hangUp(w http.ResponseWriter, raw string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, raw)
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// answerChecks are about wrong answers, of the service or of a proxy before it.
func (s *suite) answerChecks() []check {
	const page = "<!DOCTYPE html><html><head><title>Just a moment</title></head><body>Checking your " +
		"browser</body></html>"
	const jsonType, htmlType = "application/json", "text/html; charset=utf-8"
	bad, failed := reputation.ResultBadAnswer, reputation.ResultError
	notFound := []reputation.Result{bad, failed}
	if s.NotFound {
		notFound = []reputation.Result{reputation.ResultNotFound}
	}
	list := []check{
		s.once("answer/empty", reply(200, jsonType, ""), bad),
		s.once("answer/page", reply(200, htmlType, page), bad),
		s.once("answer/page that says it is JSON", reply(200, jsonType, page), bad),
		s.once("answer/picture", reply(200, "image/png", "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"), bad),
		s.once("answer/not gzip", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			s.sample.ServeHTTP(w, r)
		}, bad, failed),
		s.once("answer/deep", reply(200, jsonType, strings.Repeat("[", 30_000)), bad),
		s.once("answer/deep in a member", s.deep, bad),
		s.once("answer/page that is the answer", s.as(htmlType), bad),
		s.once("answer/no type", s.as(""), bad),
		s.compressed(),
		s.once("answer/500", reply(500, jsonType, `{"message":"internal error"}`), failed),
		s.once("answer/502 page", reply(502, htmlType, page), failed),
		s.once("answer/404 page", reply(404, htmlType, page), notFound...),
		{"answer/truncated anywhere", s.truncated},
		{"answer/32 MiB", s.flood("", 32)},
		{"answer/gzip bomb of 32 MiB", s.flood("gzip", 32)},
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		list = append(list, check{fmt.Sprintf("answer/redirect %d", status), s.redirect(status)})
	}
	list = append(list, s.pauses()...)
	return append(list, s.echoChecks()...)
}

// deep sends the sample with an additional member, which is nested deeper than that of any service.
func (s *suite) deep(w http.ResponseWriter, r *http.Request) {
	const depth = 5000
	nested := strings.Repeat("[", depth) + strings.Repeat("]", depth)
	body := strings.TrimSpace(s.sample.Body)
	if rest, ok := strings.CutPrefix(body, "{"); ok {
		body = `{"extra":` + nested + "," + rest
	} else {
		body = nested
	}
	reply(200, s.sample.Header.Get("Content-Type"), body)(w, r)
}

// as sends the sample with another content type, or without one.
func (s *suite) as(contentType string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil // otherwise the server would guess it
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		_, _ = io.WriteString(w, s.sample.Body)
	}
}

// compressed sends the sample in gzip if the client accepts it, as services do.
func (s *suite) compressed() check {
	return check{"answer/gzip", func(tb testing.TB) error {
		t := s.fixture(tb, func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				s.sample.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", s.sample.Header.Get("Content-Type"))
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(compress([]byte(s.sample.Body)))
		})
		o, err := t.ask(tb.Context(), s.sample.Addr)
		return errors.Join(err, s.sample.judge(o), t.wantRequests(1))
	}}
}

// pauses are about the forms in which a 429 asks for a pause. No pause may be negative or endless.
func (s *suite) pauses() []check {
	const longest = 31 * 24 * time.Hour
	var list []check
	for _, p := range []struct {
		name, after string
		low, high   time.Duration
	}{
		{"seconds", "120", 2 * time.Minute, 2 * time.Minute},
		{"date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), 59 * time.Minute, time.Hour},
		{"past date", "Mon, 23 Nov 2015 14:30:00 GMT", 0, 0},
		{"none", "", 0, 0},
		{"negative", "-120", 0, 0},
		{"words", "soon", 0, 0},
		{"a hundred years", "3155760000", time.Minute, longest},
		{"the largest number", "9223372036854775807", 0, longest},
		{"more than 64 bits", "99999999999999999999", 0, longest},
	} {
		list = append(list, check{"pause/" + p.name, func(tb testing.TB) error {
			t := s.fixture(tb, func(w http.ResponseWriter, r *http.Request) {
				if p.after != "" {
					w.Header().Set("Retry-After", p.after)
				}
				reply(http.StatusTooManyRequests, "application/json", `{"message":"slow down"}`)(w, r)
			})
			o, err := t.ask(tb.Context(), s.sample.Addr)
			if got := o.retryAfter(); got < p.low || got > p.high {
				err = errors.Join(err,
					fmt.Errorf("Retry-After %q became %s, want %s to %s", p.after, got, p.low, p.high))
			}
			return errors.Join(err, o.want(reputation.ResultThrottled), t.wantRequests(1))
		}})
	}
	return list
}

func reply(status int, contentType, body string) http.HandlerFunc {
	c := &Case{Status: status, Body: body, Header: http.Header{"Content-Type": {contentType}}}
	return c.ServeHTTP
}

// truncated sends every prefix of the sample as if it were complete.
func (s *suite) truncated(tb testing.TB) error {
	body := strings.TrimSpace(s.sample.Body)
	var length atomic.Int64
	t := s.fixture(tb, func(w http.ResponseWriter, r *http.Request) {
		reply(200, s.sample.Header.Get("Content-Type"), body[:length.Load()])(w, r)
	})
	for n := range len(body) {
		length.Store(int64(n))
		o, err := t.ask(tb.Context(), s.sample.Addr)
		if err := errors.Join(err, o.want(reputation.ResultBadAnswer)); err != nil {
			return fmt.Errorf("the first %d bytes of %q: %w", n, s.sample.Name, err)
		}
	}
	return t.wantRequests(len(body))
}

// flood sends size MiB of white space before the sample, and measures that the
// provider stops reading early.
func (s *suite) flood(encoding string, size int) func(tb testing.TB) error {
	return func(tb testing.TB) error {
		const bound = 16 << 20 // bytes; reading all of it costs several times its size
		space, end := bytes.Repeat([]byte(" "), 1<<20), []byte(s.sample.Body)
		if encoding == "gzip" {
			space, end = compress(space), compress(end) // a gzip file may be a sequence of gzip files
		}
		t := s.fixture(tb, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", s.sample.Header.Get("Content-Type"))
			if encoding != "" {
				w.Header().Set("Content-Encoding", encoding)
			}
			for range size {
				if _, err := w.Write(space); err != nil {
					return
				}
			}
			_, _ = w.Write(end)
		})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		o, err := t.ask(tb.Context(), s.sample.Addr)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > bound {
			err = errors.Join(err,
				fmt.Errorf("a body of %d MiB made the process allocate %d MiB: limit what is read",
					size, used>>20))
		}
		return errors.Join(err, o.want(reputation.ResultBadAnswer), t.wantRequests(1))
	}
}

func compress(plain []byte) []byte {
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	_, _ = w.Write(plain)
	_ = w.Close()
	return compressed.Bytes()
}

// redirect points to another server, which must not get a request, let alone the key.
func (s *suite) redirect(status int) func(tb testing.TB) error {
	return func(tb testing.TB) error {
		elsewhere := s.fixture(tb, s.sample.ServeHTTP)
		t := s.fixture(tb, func(w http.ResponseWriter, r *http.Request) {
			//nolint:gosec // it is an open redirect on purpose
			http.Redirect(w, r, strings.TrimSuffix(elsewhere.baseURL, basePath)+r.URL.RequestURI(), status)
		})
		o, err := t.ask(tb.Context(), s.sample.Addr)
		if followed := elsewhere.wantRequests(0); followed != nil {
			err = errors.Join(err, fmt.Errorf("the redirect was followed: %w", followed))
		}
		return errors.Join(err, o.want(reputation.ResultBadAnswer), t.wantRequests(1))
	}
}
