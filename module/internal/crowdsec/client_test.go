package crowdsec

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
)

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		var asked *http.Request
		b.api.then(func(r *http.Request) (int, io.Reader, error) {
			asked = r
			return banned(1, 4)(r)
		})
		b.run()
		time.Sleep(time.Second)
		b.check("203.0.113.1", "crowdsec ban bruteforce")
		b.check("203.0.113.4")
		if got, want := asked.URL.String(), "http://192.0.2.1:8080/v1/decisions/stream?startup=true&scopes=ip,range,as,country&dedup=false"; got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
		if asked.Header.Get("X-Api-Key") != "secret" || asked.UserAgent() != "caddy-ip-reputation/v1" {
			t.Errorf("asked with %v", asked.Header)
		}

		// then what has changed: a decision more, one that is gone, one that was never there
		b.api.then(text(200, `{"new":[{"id":9,"origin":"cscli","scenario":"manual","scope":"Range","type":"captcha","value":"203.0.113.0/29","duration":"30s"}],
			"deleted":[{"id":1,"value":"203.0.113.1","type":"ban","duration":"-1s"},{"id":1,"duration":"-1s"},{"id":500}]}`))
		time.Sleep(DefaultPoll)
		b.check("203.0.113.1", "cscli captcha abuse")
		b.check("203.0.113.2", "crowdsec ban bruteforce", "cscli captcha abuse")
		b.api.then(text(200, `{"new":null,"deleted":[{"id":1}]}`))
		time.Sleep(45 * time.Second) // the captcha ends by itself
		b.check("203.0.113.1")
		b.check("203.0.113.2", "crowdsec ban bruteforce")
		if got := b.api.take(); !slices.Equal(got[:3], []string{"true", "false", "false"}) || slices.Contains(got[1:], "true") {
			t.Errorf("asked with startup %v", got)
		}

		// the hour of the ban ends, too, and all is read again meanwhile
		b.api.then(text(200, `{"new":[],"deleted":[]}`))
		time.Sleep(time.Hour + 10*time.Second)
		b.check("203.0.113.2")
		if got := b.api.take(); !slices.Contains(got, "true") {
			t.Error("nothing was read again as a whole within an hour")
		}
	})
}

// After any failure, the last decisions stay in force, the status has the error, and the next question is for all decisions.
func TestFailures(t *testing.T) {
	for name, answer := range map[string]func(*http.Request) (int, io.Reader, error){
		"nobody listens": func(*http.Request) (int, io.Reader, error) {
			return 0, nil, &url.Error{Op: "Get", URL: "http://192.0.2.1/?secret", Err: &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}}
		},
		"a gateway's error": text(502, "<html>"),
		"a gateway's page":  text(200, "<html>"),
		"null":              text(200, "null"),
		"no stream":         text(200, `{"message":"hello"}`),
		"cut": func(r *http.Request) (int, io.Reader, error) {
			_, body, err := banned(100, 200)(r)
			return 200, io.LimitReader(body, 1000), err
		},
		"broken off": func(*http.Request) (int, io.Reader, error) {
			return 200, io.MultiReader(strings.NewReader(`{"new":[`), failing{}), nil
		},
		"a redirect": text(302, ""),
		"not found":  text(404, `{"message":"not found"}`),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := new(logtest.Log)
				b := newBench(t, func(c *Config, _ *feed.Spec) { c.Logger = log.Logger() })
				b.api.then(banned(1, 20))
				b.run()
				time.Sleep(time.Second)
				b.api.then(answer)
				time.Sleep(20 * time.Minute)
				b.check("203.0.113.1", "crowdsec ban bruteforce")
				b.check("203.0.113.150")
				s := b.status()
				if s.LastError == "" || s.Failures < 15 || time.Since(s.LastSuccess) < s.Patience {
					t.Errorf("status %+v", s)
				}
				if strings.Contains(s.LastError, "secret") {
					t.Errorf("the error tells the URL: %s", s.LastError)
				}
				if n := len(b.api.take()); n < 20 || n > 40 {
					t.Errorf("asked %d times in 20 minutes", n)
				}
				b.api.then(banned(2, 20))
				time.Sleep(2 * time.Minute)
				b.check("203.0.113.1") // no deletion has told so
				b.check("203.0.113.2", "crowdsec ban bruteforce")
				if got := b.api.take(); got[0] != "true" || got[len(got)-1] != "false" {
					t.Errorf("asked with startup %v after the failures", got)
				}
				if b.status().LastError != "" || !strings.Contains(log.String(), "crowdsec answers again") {
					t.Errorf("status %+v, log %s", b.status(), log)
				}
			})
		})
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("connection reset by peer") }

func TestRefusedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newKey("old")
		b := newBench(t, func(c *Config, _ *feed.Spec) { c.Key = key })
		b.api.then(func(r *http.Request) (int, io.Reader, error) {
			if r.Header.Get("X-Api-Key") != "new" {
				return text(403, `{"message":"access forbidden: old"}`)(r)
			}
			return banned(1, 2)(r)
		})
		b.run()
		time.Sleep(10 * time.Minute)
		if n := len(b.api.take()); n < 7 || n > 10 {
			t.Errorf("asked %d times in ten minutes", n)
		}
		if err := b.status().LastError; !strings.Contains(err, "cscli bouncers add") || strings.Contains(err, "old") {
			t.Errorf("error %s", err)
		}
		if got := b.status().LastResult; got != feed.ResultKeyRefused.String() {
			t.Errorf("the result is %s", got)
		}
		key.set("new")
		time.Sleep(time.Second)
		b.check("203.0.113.1", "crowdsec ban bruteforce")
	})
}

// An answer of good form that lacks most of what there was takes nothing away until others have said the same for
// a while.
func TestEmptyAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.api.then(banned(1, 100))
		b.run()
		time.Sleep(time.Second)
		b.api.then(text(500, ""))
		time.Sleep(DefaultPoll) // so that all are read again
		b.api.then(banned(99, 101))
		time.Sleep(30 * time.Second)
		b.check("203.0.113.1", "crowdsec ban bruteforce")
		b.check("203.0.113.100", "crowdsec ban bruteforce")
		time.Sleep(8 * time.Minute)
		b.check("203.0.113.1", "crowdsec ban bruteforce")
		b.api.take()
		time.Sleep(4 * time.Minute)
		b.check("203.0.113.1")
		b.check("203.0.113.100", "crowdsec ban bruteforce")
		if got := b.api.take(); got[0] != "true" {
			t.Errorf("asked with startup %v", got)
		}
	})
}

// Another instance with the same key, such as the one that this one replaces, may have taken news away: soon after the
// start, all are read once more.
func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.api.then(banned(1, 10))
		b.run()
		time.Sleep(time.Second)
		b.api.then(func(r *http.Request) (int, io.Reader, error) {
			if r.URL.Query().Get("startup") == "true" {
				return banned(1, 11)(r)
			}
			return text(200, `{"new":null,"deleted":null}`)(r)
		})
		time.Sleep(settle + DefaultPoll)
		b.check("203.0.113.10", "crowdsec ban bruteforce")
		b.api.take()
		time.Sleep(30 * time.Minute)
		if got := b.api.take(); slices.Contains(got, "true") {
			t.Error("all are read again and again")
		}
	})
}

// A deletion counts by its ID, even if its other members are not understood. A changed decision that is not understood
// replaces the one before: that ends.
func TestChangesThatAreNotUnderstood(t *testing.T) {
	b := newBench(t, nil)
	b.set.Start()
	b.api.then(banned(1, 5))
	var s state
	b.pulled(&s)
	b.api.then(text(200, `{"new":[{"id":2,"origin":"crowdsec","scope":"Ip","type":"ban","value":"203.0.113.2","duration":"tomorrow"}],
		"deleted":[{"id":1,"scope":"Ip","value":"203.0.113.1","duration":"-99999999999h"},{"id":-3},{"id":"4"},{}]}`))
	b.pulled(&s)
	b.check("203.0.113.1")
	b.check("203.0.113.2")
	b.check("203.0.113.3", "crowdsec ban bruteforce")
	b.check("203.0.113.4", "crowdsec ban bruteforce")
	if got := b.status().Ignored; got != 1 {
		t.Errorf("%d are ignored, want 1", got)
	}
}

// What has changed is held while it is read, so that too much of it is read as a whole.
func TestManyChanges(t *testing.T) {
	for name, changes := range map[string]func(yield func(string)){
		"many deletions": func(yield func(string)) {
			yield(`{"new":[],"deleted":[{"id":1}`)
			for i := range 2 * maxDeleted {
				yield(fmt.Sprintf(`,{"id":%d}`, i))
			}
			yield("]}")
		},
		"many decisions": func(yield func(string)) {
			yield(`{"deleted":[],"new":[`)
			for i := range maxAdded + 1 {
				yield(fmt.Sprintf(`{"id":%d,"type":"ban","scope":"Ip","value":"198.51.100.1","duration":"1h"},`, i+1000))
			}
			yield(`{"id":1}]}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.api.then(banned(1, 4))
			var s state
			if err := b.pull(t.Context(), &s); err != nil {
				t.Fatal(err)
			}
			b.api.then(func(r *http.Request) (int, io.Reader, error) {
				if r.URL.Query().Get("startup") == "true" {
					return banned(2, 5)(r)
				}
				read, write := io.Pipe()
				go func() {
					var err error
					changes(func(piece string) {
						if err == nil {
							_, err = io.WriteString(write, piece)
						}
					})
					write.CloseWithError(err)
				}()
				t.Cleanup(func() { read.Close() })
				return 200, read, nil
			})
			if err := b.pull(t.Context(), &s); err != nil {
				t.Fatal(err)
			}
			if got := b.api.take(); !slices.Equal(got, []string{"true", "false", "true"}) {
				t.Errorf("asked with startup %v", got)
			}
			sizes, err := b.set.PartSizes("crowdsec")
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, size := range sizes {
				n += size.IPv4
			}
			if n != 3 {
				t.Errorf("%d decisions are in force, want 3", n)
			}
		})
	}
}

// A full list takes the decisions of the operator's own engine first, says what it left out, and goes on.
func TestFullList(t *testing.T) {
	b := newBench(t, func(_ *Config, spec *feed.Spec) { spec.MaxEntries = 5 })
	var list []string
	for i := range 20 {
		origin := "CAPI"
		if i > 16 {
			origin = "crowdsec"
		}
		list = append(list, fmt.Sprintf(`{"id":%d,"origin":%q,"type":"ban","scope":"Ip","value":"203.0.113.%d","duration":"1h"}`, i, origin, i))
	}
	list = append(list, `{"id":100,"type":"allow","scope":"Ip","value":"203.0.113.100","duration":"1h"}`)
	b.api.then(text(200, `{"new":[%s],"deleted":null}`, strings.Join(list, ",")))
	b.set.Start()
	var s state
	if err := b.pull(t.Context(), &s); err != nil || !s.complete {
		t.Fatal(err)
	}
	if got := b.status(); got.Ignored != 16 || got.LastResult != "too_large" {
		t.Errorf("status %+v", got)
	}
	sizes, err := b.set.PartSizes("crowdsec")
	if err != nil || sizes[0].IPv4 != 3 {
		t.Errorf("%v, %v", sizes, err)
	}
	b.api.then(text(200, `{"new":[{"id":101,"type":"allow","scope":"Ip","value":"203.0.113.101","duration":"1h"}],"deleted":null}`))
	if err := b.pull(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	if got := b.status(); got.Ignored != 17 || !slices.Equal(b.api.take(), []string{"true", "false"}) {
		t.Errorf("status %+v", got)
	}
}

func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.api.then(banned(1, 4))
		b.run()
		time.Sleep(time.Second)
		b.api.then(banned(2, 5))
		b.api.take()
		if err := b.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := b.api.take(); !slices.Equal(got, []string{"true"}) {
			t.Errorf("asked with startup %v", got)
		}
		b.api.then(text(502, ""))
		if err := b.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "502") {
			t.Errorf("error %v", err)
		}
	})
}

func TestURL(t *testing.T) {
	for text, want := range map[string]string{
		"http://127.0.0.1:8080":           "http://127.0.0.1:8080/",
		"https://lapi.example.com/crowd/": "https://lapi.example.com/crowd/",
		"https://lapi.example.com/crowd":  "https://lapi.example.com/crowd/",
		"/run/crowdsec.sock":              "http://crowdsec/",
		"http://user:pass@lapi.example":   "has a user",
		"http://lapi.example/v1/":         "ends in /v1",
		"http://lapi.example/?a=b":        "a query",
		"ftp://lapi.example":              "is a URL such as",
		"127.0.0.1:8080":                  "is a URL such as",
		"":                                "is a URL such as",
		"http://":                         "is a URL such as",
	} {
		base, socket, err := parseURL(text)
		switch {
		case err != nil:
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", text, err, want)
			}
		case base.String() != want || (socket != "") != strings.HasPrefix(text, "/"):
			t.Errorf("%s: %s at %q, want %s", text, base, socket, want)
		}
	}
	for text, want := range map[string]bool{
		"http://127.0.0.1:8080": false, "http://[::1]:8080": false, "http://localhost": false, "/run/crowdsec.sock": false,
		"https://lapi.example": false, "http://lapi.example": true, "http://192.0.2.1:8080": true,
	} {
		if got := IsExposed(text); got != want {
			t.Errorf("%s is exposed: %t", text, got)
		}
	}
	if got := versionOf("(devel)/x é"); strings.ContainsAny(got, "/ é") {
		t.Errorf("version %q", got)
	}
	for _, poll := range []time.Duration{-time.Second, time.Millisecond, time.Hour} {
		if _, err := New(Config{URL: "/sock", Poll: poll}, nil); err == nil {
			t.Errorf("poll %s is accepted", poll)
		}
	}
}
