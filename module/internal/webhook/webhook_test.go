package webhook

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// TestSignature holds us to a signature that was not made here: the example of the reference libraries of Standard Webhooks.
func TestSignature(t *testing.T) {
	key, err := signingKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	got := signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := CheckSecret("whsec_not base64"); err == nil || strings.Contains(err.Error(), "not base64 ") && strings.Contains(err.Error(), "whsec_not") {
		t.Errorf("a secret that is not base64: %v", err)
	}
	if key, err := signingKey("plain"); string(key) != "plain" || err != nil {
		t.Errorf("a plain secret is %q, %v", key, err)
	}
}

// receiver answers in the place of the network, so that time can be played with.
type receiver struct {
	mu     sync.Mutex
	script []answer // what is answered first; then 204
	got    []attempt
	slow   time.Duration
}

type answer struct {
	status int
	after  string
	err    error
}

type attempt struct {
	at              time.Time
	id, stamp, sigs string
	body            string
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	r.got = append(r.got, attempt{
		time.Now(), req.Header.Get("webhook-id"), req.Header.Get("webhook-timestamp"), req.Header.Get("webhook-signature"), string(body),
	})
	a := answer{status: http.StatusNoContent}
	if len(r.script) > 0 {
		a, r.script = r.script[0], r.script[1:]
	}
	slow := r.slow
	r.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	if a.err != nil {
		return nil, a.err
	}
	h := http.Header{}
	if a.after != "" {
		h.Set("Retry-After", a.after)
	}
	return &http.Response{StatusCode: a.status, Header: h, Body: io.NopCloser(strings.NewReader("")), Request: req}, nil
}

func (r *receiver) attempts() []attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]attempt(nil), r.got...)
}

// sender returns a Sender whose URL holds secrets in every part, and its log.
func sender(tb testing.TB, r http.RoundTripper, change func(*Options)) (*Sender, *logtest.Log) {
	tb.Helper()
	l := new(logtest.Log)
	to, err := url.Parse("https://us3r:passw0rd@hooks.example.com/pathsecret?token=querysecret")
	if err != nil {
		tb.Fatal(err)
	}
	o := Options{
		URL: to, Secrets: func() []string { return []string{secret} }, Retries: DefaultRetries, Transport: r,
		Logger: slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&o)
	}
	return New(o), l
}

func (s *Sender) end() {
	s.Close()
	<-s.Done()
}

// wantNoSecret proves that nothing of the URL but its host is logged.
func wantNoSecret(t *testing.T, l *logtest.Log) {
	t.Helper()
	for _, s := range []string{"us3r", "passw0rd", "pathsecret", "querysecret", "MfKQ9r8"} {
		if strings.Contains(l.String(), s) {
			t.Errorf("the log holds %q:\n%s", s, l.String())
		}
	}
}

// TestRetries proves what is tried again, when, and with which ID and signature.
func TestRetries(t *testing.T) {
	for name, tc := range map[string]struct {
		script   []answer
		attempts int
		took     [2]time.Duration // at least, at most
		log      string
	}{
		"taken":                         {nil, 1, [2]time.Duration{}, "delivered"},
		"500 twice":                     {[]answer{{status: 500}, {status: 503}}, 3, [2]time.Duration{2400 * time.Millisecond, 3600 * time.Millisecond}, "delivered"},
		"408":                           {[]answer{{status: 408}}, 2, [2]time.Duration{800 * time.Millisecond, 1200 * time.Millisecond}, "delivered"},
		"429 that says how long":        {[]answer{{status: 429, after: "7"}}, 2, [2]time.Duration{7 * time.Second, 7 * time.Second}, "delivered"},
		"429 with a date":               {[]answer{{status: 429, after: "Sat, 01 Jan 2000 00:00:09 GMT"}}, 2, [2]time.Duration{9 * time.Second, 9 * time.Second}, "delivered"},
		"429 that wants a year":         {[]answer{{status: 429, after: "31536000"}}, 2, [2]time.Duration{5 * time.Minute, 5 * time.Minute}, "delivered"},
		"429 of nonsense":               {[]answer{{status: 429, after: "-1"}}, 2, [2]time.Duration{800 * time.Millisecond, 1200 * time.Millisecond}, "delivered"},
		"400":                           {[]answer{{status: 400}}, 1, [2]time.Duration{}, "lost"},
		"410":                           {[]answer{{status: 410}}, 1, [2]time.Duration{}, "lost"},
		"redirect":                      {[]answer{{status: 308}}, 1, [2]time.Duration{}, "redirects"},
		"errors that quote the address": {[]answer{{err: fmt.Errorf("proxy https://us3r:passw0rd@x/?token=querysecret")}}, 2, [2]time.Duration{800 * time.Millisecond, 1200 * time.Millisecond}, "delivered"},
		"dead":                          {[]answer{{status: 500}, {status: 500}, {status: 500}, {status: 500}, {status: 500}, {status: 500}}, 6, [2]time.Duration{24800 * time.Millisecond, 37200 * time.Millisecond}, "lost"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &receiver{script: tc.script}
				s, l := sender(t, r, nil)
				began := time.Now()
				s.Send(Message{ID: "one", Name: "e", Body: []byte(`{"n":1}`)})
				s.end()
				took := time.Since(began)
				got := r.attempts()
				if len(got) != tc.attempts || took < tc.took[0] || took > tc.took[1] {
					t.Errorf("%d attempts in %s, want %d in %s", len(got), took, tc.attempts, tc.took)
				}
				if longest := s.Longest(); took > longest && tc.script[0].after == "" {
					t.Errorf("it took %s, and %s is said to be the longest", took, longest)
				}
				key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
				for _, a := range got {
					if a.id != "one" || a.stamp != strconv.FormatInt(a.at.Unix(), 10) || a.sigs != signature(key, "one", a.stamp, []byte(a.body)) {
						t.Errorf("attempt %+v", a)
					}
				}
				if !strings.Contains(l.String(), tc.log) {
					t.Errorf("the log does not say %q:\n%s", tc.log, l.String())
				}
				wantNoSecret(t, l)
			})
		})
	}
}

// TestSecrets proves that each secret signs, that a new one is used with the next attempt, and that nothing goes out unsigned.
func TestSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(receiver)
		var current []string
		var mu sync.Mutex
		set := func(secrets ...string) {
			mu.Lock()
			defer mu.Unlock()
			current = secrets
		}
		s, _ := sender(t, r, func(o *Options) {
			o.Secrets = func() []string {
				mu.Lock()
				defer mu.Unlock()
				return current
			}
		})
		s.Send(Message{ID: "one"})
		time.Sleep(500 * time.Millisecond)
		if n := len(r.attempts()); n != 0 {
			t.Errorf("%d attempts without a secret", n)
		}
		set("old", "new")
		s.end()
		got := r.attempts()
		if len(got) != 1 || got[0].sigs != signature([]byte("old"), "one", got[0].stamp, nil)+" "+signature([]byte("new"), "one", got[0].stamp, nil) {
			t.Errorf("attempts %+v", got)
		}
	})
}

// TestQueue proves that Send never waits, that the newest stay when there are too many, in order, and that it is said.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{slow: time.Second}
		s, l := sender(t, r, func(o *Options) { o.Queue = 3 })
		began := time.Now()
		s.Send(Message{ID: "0"})
		synctest.Wait() // it is on its way
		for i := 1; i < 10; i++ {
			s.Send(Message{ID: strconv.Itoa(i)})
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("sending took %s", took)
		}
		s.end()
		ids := ""
		for _, a := range r.attempts() {
			ids += a.id
		}
		if ids != "0789" {
			t.Errorf("delivered %s, want 0789", ids)
		}
		if n := strings.Count(l.String(), "events are dropped"); n != 1 || s.dropped != 6 {
			t.Errorf("%d dropped, said %d times", s.dropped, n)
		}
		s.Send(Message{ID: "late"})
		if n := len(r.attempts()); n != 4 {
			t.Errorf("%d attempts", n)
		}
	})
}

// TestEnd proves that what is left when time is short is tried once, without waiting, and that the end is bounded.
func TestEnd(t *testing.T) {
	t.Run("drain", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := &receiver{script: []answer{{status: 500}, {status: 500}}}
			s, _ := sender(t, r, nil)
			for i := range 3 {
				s.Send(Message{ID: strconv.Itoa(i)})
			}
			synctest.Wait() // it waits to try the first again
			began := time.Now()
			s.Close()
			s.Drain()
			<-s.Done()
			if took := time.Since(began); took != 0 || len(r.attempts()) != 3 {
				t.Errorf("%d attempts, the end took %s", len(r.attempts()), took)
			}
		})
	})
	t.Run("abort", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := &receiver{slow: time.Hour}
			s, l := sender(t, r, func(o *Options) { o.Timeout = time.Minute })
			for i := range 3 {
				s.Send(Message{ID: strconv.Itoa(i)})
			}
			synctest.Wait()
			began := time.Now()
			s.Close()
			s.Abort()
			<-s.Done()
			if took := time.Since(began); took != 0 || s.dropped != 2 || !strings.Contains(l.String(), "there was no time left") {
				t.Errorf("the end took %s, %d dropped:\n%s", took, s.dropped, l.String())
			}
		})
	})
	t.Run("never used", func(t *testing.T) {
		s, _ := sender(t, new(receiver), nil)
		s.end()
		s.Close()
	})
}

// TestLongHeader proves that a receiver's header has a limit.
func TestLongHeader(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 1<<20))
	}))
	defer server.Close()
	s, log := sender(t, nil, func(o *Options) { o.URL, _ = url.Parse(server.URL); o.Retries = 0 })
	s.Send(Message{ID: "one"})
	s.end()
	if !strings.Contains(log.String(), "an event was not delivered") {
		t.Errorf("it was read: %s", log)
	}
}

// TestRedirect proves, on real sockets, that nothing is sent to where a receiver redirects to, and that answers without an end
// are not read, nor what follows a switch to another protocol.
func TestRedirect(t *testing.T) {
	stolen := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen++ }))
	defer elsewhere.Close()
	for name, serve := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
		"endless": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<10)); err != nil {
					return
				}
			}
		},
		"another protocol": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(serve)
			defer server.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			s, _ := sender(t, nil, func(o *Options) { o.URL, _ = url.Parse(server.URL) })
			s.Send(Message{ID: "one"})
			s.Close()
			select {
			case <-s.Done():
			case <-ctx.Done():
				t.Fatal("it does not end")
			}
			if stolen != 0 {
				t.Error("a redirect was followed")
			}
		})
	}
}

// TestForeignCertificate: whoever is in the way writes what he likes into a certificate. It must not reach the log.
func TestForeignCertificate(t *testing.T) {
	to, err := url.Parse(testenv.ForeignCertificate(t))
	if err != nil {
		t.Fatal(err)
	}
	s, l := sender(t, nil, func(o *Options) { o.URL, o.Retries = to, 0 })
	s.Send(Message{ID: "one", Name: "e", Body: []byte(`{}`)})
	s.end()
	lost := l.Lines("is lost")
	if len(lost) != 1 || !strings.Contains(lost[0], "certificate") {
		t.Fatalf("the log is\n%s", l.String())
	}
	testenv.WantLine(t, logtest.Value(lost[0], "error"))
}
