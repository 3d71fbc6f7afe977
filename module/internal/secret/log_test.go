package secret

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func lines(text, with string) (list []string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, with) {
			list = append(list, line)
		}
	}
	return list
}

func TestAChangeIsLoggedByFingerprint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said logtest.Log
		s := holding("first-value")
		start(t, s, Options{Logger: said.Logger(), Source: "vault kv/abuseipdb"})
		time.Sleep(time.Hour)
		s.set("second-value")
		time.Sleep(time.Hour)
		text := said.String()
		want := []string{
			"level=INFO msg=\"the secret was fetched\" secret=abuseipdb source=\"vault kv/abuseipdb\" key=" + Fingerprint("first-value"),
			"level=INFO msg=\"the secret has changed, and the new value is in use\" secret=abuseipdb source=\"vault kv/abuseipdb\"" +
				" key=" + Fingerprint("second-value") + " old_key=" + Fingerprint("first-value"),
		}
		var got []string
		for line := range strings.Lines(text) {
			_, line, _ = strings.Cut(strings.TrimSpace(line), " ") // the time
			got = append(got, line)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestHide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said logtest.Log
		s := holding("hunter2")
		k := start(t, s, Options{Logger: said.Logger(), Hide: true})
		time.Sleep(time.Minute)
		s.set("hunter3")
		time.Sleep(time.Hour)
		s.fail(errAway)
		time.Sleep(time.Hour)
		wantValue(t, k, "hunter3")
		text := said.String() + fmt.Sprintf("%+v", k.Status())
		if len(lines(text, "has changed")) != 1 || len(lines(text, "cannot be fetched")) == 0 {
			t.Errorf("not all was logged:\n%s", text)
		}
		for _, hidden := range []string{"hunter", Fingerprint("hunter2"), Fingerprint("hunter3"), "key="} {
			if strings.Contains(text, hidden) {
				t.Errorf("%q is shown:\n%s", hidden, text)
			}
		}
	})
}

func TestFailuresAreLoggedOnceAMinuteAndCause(t *testing.T) {
	tests := map[string]struct {
		err               error
		level, msg, error string
	}{
		"away":    {errAway, "WARN", "check that its store is up", "connection refused"},
		"refused": {fmt.Errorf("get: %w", reputation.ErrRefused), "ERROR", "check its credentials", "the store refused this server"},
		"unknown": {fmt.Errorf("get: %w", reputation.ErrUnknown), "ERROR", "check how the configuration names it", "no such secret"},
		"empty":   {nil, "ERROR", "check how the configuration names it", "the store gave an empty value"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said logtest.Log
				s := holding("k1-value")
				k := start(t, s, Options{Logger: said.Logger(), Refresh: 2 * time.Second})
				time.Sleep(time.Minute)
				s.fail(tt.err)
				time.Sleep(10 * time.Minute)
				failed := lines(said.String(), tt.msg)
				if n := len(failed); n < 8 || n > 10 {
					t.Fatalf("logged %d times in 10 minutes, want once a minute:\n%s", n, said.String())
				}
				for _, want := range []string{"level=" + tt.level, "in_use=true", "age=", "key=" + Fingerprint("k1-value"), tt.error} {
					if !strings.Contains(failed[0], want) {
						t.Errorf("lacks %q: %s", want, failed[0])
					}
				}
				if !strings.Contains(strings.Join(failed, ""), "age=5m") {
					t.Errorf("the age does not grow:\n%s", said.String())
				}
				s.set("k1-value")
				time.Sleep(time.Minute)
				if n := len(lines(said.String(), "answers again")); n != 1 {
					t.Errorf("said %d times that the store answers again, want once", n)
				}
				if n := len(lines(said.String(), "has changed")); n != 0 {
					t.Error("the old value is called a change")
				}
				wantValue(t, k, "k1-value")
			})
		})
	}
}

func TestNothingInUseIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said logtest.Log
		start(t, &store{err: errAway}, Options{Logger: said.Logger()})
		synctest.Wait()
		if text := said.String(); !strings.Contains(text, "in_use=false") || strings.Contains(text, "age=") {
			t.Error(text)
		}
	})
}

func TestAPanicIsLoggedWithoutWhatItHolds(t *testing.T) {
	tests := map[string]struct {
		panics func()
		want   string
	}{
		"with a text":       {func() { panic("s3cret-value") }, "panic=string"},
		"with an error":     {func() { panic(fmt.Errorf("token s3cret-value: %w", errAway)) }, "panic=*fmt.wrapError"},
		"a runtime failure": {func() { strings.Fields("")[5] = "" }, "index out of range [5]"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said logtest.Log
				k := start(t, storeFunc(func(context.Context) (reputation.Secret, error) {
					tt.panics()
					return reputation.Secret{}, nil
				}), Options{Logger: said.Logger(), Refresh: time.Second})
				time.Sleep(50 * time.Second)
				text := said.String()
				panics := lines(text, "panicked: report this to its author\" secret")
				if len(panics) != 1 || !strings.Contains(panics[0], tt.want) || !strings.Contains(panics[0], "TestAPanicIsLogged") {
					t.Errorf("want once, %s, and where:\n%s", tt.want, text)
				}
				if strings.Contains(text, "s3cret") || strings.Contains(k.Status().Error, "s3cret") {
					t.Errorf("the secret is shown:\n%s", text)
				}
			})
		})
	}
}

func TestErrorsAreMadePresentable(t *testing.T) {
	const value = `s3cret/"+value`
	tests := map[string]struct{ text, want string }{
		"nothing to hide":          {"connection refused", "connection refused"},
		"the value":                {"bad answer " + value, "bad answer [secret]"},
		"the value in a query":     {"at " + url.QueryEscape(value), "at [secret]"},
		"the value in a path":      {"at " + url.PathEscape(value), "at [secret]"},
		"the value in quotes":      {fmt.Sprintf("got %q", value), `got "[secret]"`},
		"the value that came last": {"got fresh-value", "got [secret]"},
		"a password in a URL":      {`Get "https://u:p%40ss@vault:8200/v1": EOF`, `Get "https://vault:8200/v1": EOF`},
		"a token in a URL":         {`Get "https://vault/v1?token=abc&x=1": EOF`, `Get "https://vault/v1?[hidden]": EOF`},
		"a DSN":                    {"parse postgres://u:p/w@db:5432/x?a=b", "parse postgres://db:5432/x?[hidden]"},
		"a plain URL":              {`Get "https://vault:8200/v1": EOF`, `Get "https://vault:8200/v1": EOF`},
		"a question":               {"why? mail me@example.org", "why? mail me@example.org"},
		"the vocabulary":           {"get: " + reputation.ErrUnknown.Error(), "get: the store has no such secret"},
		"foreign text":             {"it says \x1b[2J\r\nERROR all is well", "it says [2J ERROR all is well"},
		"long":                     {strings.Repeat("é", foreign.MaxError), strings.Repeat("é", foreign.MaxError/2) + "…"},
	}
	k := Open("a", holding(value), quiet())
	if err := k.Prime(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := k.conceal(fmt.Errorf("%s%w", tt.text, &failure{cause: reputation.ErrRefused}), "fresh-value")
			if err.Error() != tt.want || !errors.Is(err, reputation.ErrRefused) {
				t.Errorf("%q, want %q", err, tt.want)
			}
			for e := err; e != nil; e = errors.Unwrap(e) { // As what collects errors does.
				for _, verb := range []string{"%v", "%+v", "%#v", "%q"} {
					if text := fmt.Sprintf(verb, e); strings.Contains(text, "s3cret") || strings.Contains(text, "fresh-value") {
						t.Errorf("%s shows %s", verb, text)
					}
				}
			}
		})
	}
	if got := redact("an error", "an"); got != "an error" {
		t.Errorf("%q tells a value that is part of many words", got)
	}
}

// TestNoValueIsEverShown proves promise 10 for all that a Refresher says, whatever happens to it.
func TestNoValueIsEverShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said logtest.Log
		s := holding("s3cret-1")
		k := start(t, s, Options{Logger: said.Logger()})
		shown := func() string { return fmt.Sprintf("%+v %v", k.Status(), k.Prime(t.Context())) }
		text := shown()
		for i := range 5 {
			time.Sleep(time.Hour)
			s.set(fmt.Sprintf("s3cret-%d", i+2))
			k.Refresh()
			time.Sleep(time.Hour)
			s.mu.Lock()
			s.err = fmt.Errorf("the answer was %v and not %q: %w", s.secret, s.secret.Value,
				[]error{errAway, reputation.ErrRefused, reputation.ErrUnknown}[i%3])
			s.mu.Unlock()
			time.Sleep(time.Hour)
			text += shown()
		}
		text += said.String()
		if strings.Contains(text, "s3cret-") || !strings.Contains(text, "[secret]") {
			t.Errorf("a value is shown:\n%s", text)
		}
	})
}
