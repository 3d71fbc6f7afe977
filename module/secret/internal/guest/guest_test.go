package guest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestReadInside: the block may stand inside of others, and what follows it is left alone.
func TestReadInside(t *testing.T) {
	d := caddyfile.NewTestDispenser("provider {\n key store a {\n  field b\n }\n rest\n}")
	d.Next()
	if !d.NextBlock(0) || d.Val() != "key" {
		t.Fatal(d.Val())
	}
	var name, field string
	if err := Read(d, Name{Word: "name", Example: "x", To: &name}, option.Once("field", option.Text(&field, "y"))); err != nil {
		t.Fatal(err)
	}
	if name != "a" || field != "b" || !d.NextBlock(0) || d.Val() != "rest" {
		t.Errorf("name %q, field %q, then %q", name, field, d.Val())
	}
}

func TestEnd(t *testing.T) {
	midnight := time.Date(2027, 4, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2027-03-31":                midnight,
		" 2027-03-31\n":             midnight,
		"2027-04-01T00:00:00Z":      midnight,
		"2027-04-01T02:00:00+02:00": midnight,
		"2027-04-01T00:00:00.5Z":    midnight.Add(500 * time.Millisecond),
		"2027-02-31":                {},
		"31.03.2027":                {},
		"0001-01-01T00:00:00Z":      {},
		"never":                     {},
		"":                          {},
	} {
		if got, ok := ParseExpiry(text); got != want || ok == want.IsZero() {
			t.Errorf("%q is %s, %t", text, got, ok)
		}
	}
}

func TestEarlier(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) time.Time {
			if n := rapid.Int64Range(0, 5).Draw(t, name); n > 0 {
				return time.Unix(n, 0)
			}
			return time.Time{}
		}
		a, b := draw("a"), draw("b")
		got := Earlier(a, b)
		if got != Earlier(b, a) || got != a && got != b || got.IsZero() != (a.IsZero() && b.IsZero()) ||
			!a.IsZero() && got.After(a) || !b.IsZero() && got.After(b) {
			t.Errorf("of %s and %s: %s", a, b, got)
		}
	})
}

// TestValueShowsNothing: whatever is stored, an error about it repeats nothing of it.
func TestValueShowsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const secret = "s3cr3t-v4lu3"
		text := rapid.SampledFrom([]any{
			secret, map[string]any{"a": secret}, map[string]any{secret: 1}, []any{secret}, map[string]any{"key": map[string]any{"a": secret}},
			map[string]any{"key": []any{secret}}, map[string]any{"key": nil, "b": secret}, map[string]any{"key": true, "b": secret},
		}).Draw(t, "stored")
		stored, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		cut := rapid.IntRange(0, len(stored)).Draw(t, "cut")
		got, err := Value(string(stored[:cut]), rapid.SampledFrom([]string{"", "key"}).Draw(t, "member"))
		if err != nil && (strings.Contains(err.Error(), "s3cr") || !errors.Is(err, reputation.ErrUnknown) || got != "") {
			t.Errorf("%q and error %v", got, err)
		}
		if err == nil && got == "" {
			t.Error("an empty value")
		}
	})
}

func TestResolve(t *testing.T) {
	t.Setenv("GUEST_TEST", " a \n")
	t.Setenv("GUEST_TEST_BLANK", " ")
	for text, want := range map[string]string{"": "", "a": "a", "{env.GUEST_TEST}": "a", "b/{env.GUEST_TEST}": "b/ a"} {
		if got, err := Resolve("name", text); err != nil || got != want {
			t.Errorf("%q became %q (%v)", text, got, err)
		}
	}
	for _, text := range []string{"{env.GUEST_TEST_ABSENT}", "{env.GUEST_TEST_BLANK}", " ", "{unknown}"} {
		if got, err := Resolve("name", text); err == nil || !strings.HasPrefix(err.Error(), "resolving the name: ") {
			t.Errorf("%q became %q (%v)", text, got, err)
		}
	}
}

func TestPlain(t *testing.T) {
	for address, want := range map[string]bool{
		"https://example.org": false, "http://localhost:8200": false, "http://127.0.0.1": false, "http://[::1]:8200": false,
		"http://example.org": true, "http://192.0.2.1": true, "http://localhost.example.org": true,
	} {
		if got := Unencrypted(address); got != want {
			t.Errorf("%s: %t", address, got)
		}
	}
}

func TestBound(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := io.WriteString(w, strings.Repeat("x", 1<<16)); err != nil {
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	var transport http.Transport
	LimitTransport(&transport)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if got := Cause(t.Context(), err); !errors.Is(got, reputation.ErrBadAnswer) || len(body) > maxAnswer {
		t.Errorf("%v after %d bytes", got, len(body))
	}
}

// TestAnotherProtocol: an answer that switches to another protocol, and is silent then, does not hold a call for ever.
func TestAnotherProtocol(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	}))
	t.Cleanup(server.Close)
	var transport http.Transport
	limitTransport(&transport, 300*time.Millisecond)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.ReadAll(answer.Body); !errors.Is(Cause(t.Context(), err), os.ErrDeadlineExceeded) {
		t.Errorf("%v; want that the time is over", err)
	}
}

// TestBoundUnpacked: an answer that is small on the wire is not unpacked, whatever was asked for.
func TestBoundUnpacked(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(make([]byte, 64*maxAnswer)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/header" {
			w.Header().Set("X", strings.Repeat("x", 2*maxHeader))
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	}))
	t.Cleanup(server.Close)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	LimitTransport(transport)
	get := func(path string) (*http.Response, error) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return transport.RoundTrip(request)
	}
	answer, err := get("/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil || len(body) > packed.Len() {
		t.Errorf("%d bytes of %d: %v", len(body), packed.Len(), err)
	}
	if answer, err := get("/header"); err == nil {
		_ = answer.Body.Close()
		t.Errorf("a header of %d bytes is accepted", len(answer.Header.Get("X")))
	}
}

// TestCause: what is not known to be harmless is not repeated.
func TestCause(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name string
		ctx  context.Context
		err  error
		want string
	}{
		{"ended", ended, errors.New("hunter2"), "context canceled"},
		{"proxy", t.Context(), errors.New(`invalid proxy address "http://user:hunter2@proxy"`), ErrUnclear.Error()},
		{"dial", t.Context(), &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}, "dial tcp: connection refused"},
		{"timeout", t.Context(), &net.DNSError{Err: "i/o timeout", Name: "hunter2", IsTimeout: true}, os.ErrDeadlineExceeded.Error()},
		{"cut", t.Context(), io.EOF, io.ErrUnexpectedEOF.Error()},
		{"certificate", t.Context(), &tls.CertificateVerificationError{Err: errors.New("it has expired")},
			"tls: failed to verify certificate: it has expired"},
		{"JSON", t.Context(), json.Unmarshal([]byte(`hunter2`), new(int)), reputation.ErrBadAnswer.Error() + ": it is not the JSON that it should be"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Cause(tc.ctx, tc.err); got.Error() != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestThrottled(t *testing.T) {
	for after, want := range map[string]time.Duration{
		"30": 30 * time.Second, "0": 0, "": 0, "-1": 0, "soon": 0, "9223372036854775807": 24 * time.Hour, "99999999999999999999": 0,
	} {
		var got *reputation.ThrottledError
		if err := Throttled(http.Header{"Retry-After": {after}}); !errors.As(err, &got) || got.RetryAfter != want {
			t.Errorf("%q: %v", after, err)
		}
	}
	if Throttled(nil) == nil {
		t.Error("no error without a header")
	}
}

// TestForeignCertificate: whoever is in the way writes what he likes into a certificate. It must not reach the log.
func TestForeignCertificate(t *testing.T) {
	transport := new(http.Transport)
	LimitTransport(transport)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, testenv.ForeignCertificate(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = transport.RoundTrip(req) //nolint:bodyclose // there is none
	cause := Cause(t.Context(), err)
	if cause == nil || !strings.Contains(cause.Error(), "certificate") {
		t.Fatalf("the cause is %v", cause)
	}
	for e := cause; e != nil; e = errors.Unwrap(e) { // as what collects errors does
		testenv.WantLine(t, e.Error())
	}
}
