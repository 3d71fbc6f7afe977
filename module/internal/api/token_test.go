package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestCheckToken(t *testing.T) {
	for value, want := range map[string]string{
		strings.Repeat("a", 16):          "",
		"0123456789abcdef==":             "",
		"AZaz09-._~+/AZaz09":             "",
		strings.Repeat("a", MaxToken):    "",
		"":                               "less than 16",
		strings.Repeat("a", 15):          "less than 16",
		strings.Repeat("a", MaxToken+1):  "at most 4096",
		"================":               "characters that no bearer token can have",
		"0123456789 abcdef":              "characters that no bearer token can have",
		"0123=456789abcdef":              "characters that no bearer token can have",
		"0123456789abcdef\n":             "characters that no bearer token can have",
		"ä0123456789abcdef":              "characters that no bearer token can have",
		"0123456789abcdef\x00":           "characters that no bearer token can have",
		"\"0123456789abcdef0123456789\"": "characters that no bearer token can have",
	} {
		err := CheckToken(value)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.20q: %v, want %q", value, err, want)
		}
		if err != nil && len(value) > 5 && strings.Contains(err.Error(), value) {
			t.Errorf("the error repeats the token: %v", err)
		}
	}
}

// TestOnlyTheTokenItself proves that a token is accepted as it is and in no other form, and the others are not, whatever
// their place.
func TestOnlyTheTokenItself(t *testing.T) {
	f := start(t)
	for _, token := range []string{readToken, askToken, historyToken} {
		found := f.match(hashToken(token))
		if value, _ := found.Value(); value != token {
			t.Errorf("%s is taken for %s", token, value)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		token := []byte(rapid.SampledFrom([]string{readToken, askToken, historyToken}).Draw(t, "token"))
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			token[rapid.IntRange(0, len(token)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
		case 1:
			token = token[:rapid.IntRange(0, len(token)-1).Draw(t, "length")]
		case 2:
			token = append(token, rapid.SliceOfN(rapid.Byte(), 1, 8).Draw(t, "more")...)
		case 3:
			token = rapid.SliceOf(rapid.Byte()).Draw(t, "another")
		}
		if f.match(hashToken(string(token))) != nil {
			t.Fatalf("%q is let in", token)
		}
	})
}

// TestAuthorization proves which headers show a token.
func TestAuthorization(t *testing.T) {
	for _, tc := range []struct {
		values    []string
		status    int
		challenge string
	}{
		{[]string{"Bearer " + readToken}, 200, ""},
		{[]string{"bearer " + readToken}, 200, ""},
		{[]string{"BEARER   " + readToken}, 200, ""},
		{nil, 401, `Bearer realm="ip-reputation"`},
		{[]string{""}, 401, `Bearer realm="ip-reputation"`},
		{[]string{"Basic " + readToken}, 401, `Bearer realm="ip-reputation"`},
		{[]string{readToken}, 401, `Bearer realm="ip-reputation"`},
		{[]string{"Bearer"}, 401, `Bearer realm="ip-reputation", error="invalid_token"`},
		{[]string{"Bearer "}, 401, `Bearer realm="ip-reputation", error="invalid_token"`},
		{[]string{"Bearer " + readToken + " " + readToken}, 401, `Bearer realm="ip-reputation", error="invalid_token"`},
		{[]string{"Bearer " + strings.Repeat("a", 1<<16)}, 401, `Bearer realm="ip-reputation", error="invalid_token"`},
		{[]string{"Bearer " + readToken, "Bearer " + readToken}, 401, `Bearer realm="ip-reputation", error="invalid_request"`},
		{[]string{"Bearer " + historyToken}, 403, `Bearer realm="ip-reputation", error="insufficient_scope", scope="read"`},
	} {
		f := start(t)
		w := f.send(call{path: "/v1/ip/203.0.113.5", header: http.Header{"Authorization": tc.values}})
		if w.Code != tc.status || w.Header().Get("WWW-Authenticate") != tc.challenge {
			t.Errorf("%.60q: %d %q, want %d %q", tc.values, w.Code, w.Header().Get("WWW-Authenticate"), tc.status, tc.challenge)
		}
		if w.Header().Get("Vary") != "Authorization" {
			t.Errorf("%.60q: the answer varies by %q", tc.values, w.Header().Get("Vary"))
		}
	}
}

// TestATokenInTime proves that tokens that are not there yet, are too short or have ended let nobody in, and that a new value
// counts at once.
func TestATokenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		value, ok := "", false
		ends := time.Now().Add(time.Hour)
		f := start(t, func(f *fixture) {
			f.o.Tokens = append(f.o.Tokens, Token{
				Name: "api/late", Scope: ScopeRead, Value: func() (string, bool) { return value, ok }, Expires: func() time.Time { return ends },
			})
		})
		try := func(what, token string, want int) {
			t.Helper()
			if w := f.send(call{path: "/v1/ip/203.0.113.5", token: token}); w.Code != want {
				t.Errorf("%s: %d, want %d", what, w.Code, want)
			}
		}
		try("before it is there", "", 401)
		try("before it is there, with another", readToken, 200)
		value, ok = "short", true
		try("too short", "short", 401)
		try("too short, again", "short", 401)
		if log := f.log.Take(); strings.Count(log, "cannot be used") != 1 || !strings.Contains(log, "secret=api/late") || strings.Contains(log, "short\"") {
			t.Errorf("the log says %s", log)
		}
		value = "token-of-monday-0123456789"
		try("when it is there", value, 200)
		old := value
		value = "token-of-tuesday-0123456789"
		try("the old one", old, 401)
		try("the new one", value, 200)
		time.Sleep(time.Hour - time.Nanosecond)
		try("just before its end", value, 200)
		time.Sleep(time.Nanosecond)
		try("at its end", value, 401)
		ends = time.Now().Add(time.Hour)
		try("with another end", value, 200)
	})
}

// TestGuessing proves that whoever tries too many tokens is refused unseen, also with a good one, and only for a while.
func TestGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, func(f *fixture) { f.failed = 3 })
		try := func(token, client string) int {
			return f.send(call{path: "/v1/ip/203.0.113.5", token: token, client: client}).Code
		}
		for n, want := range []int{401, 401, 401, 429, 429} {
			if got := try(fmt.Sprintf("token-of-a-guess-%010d", n), "2001:db8::1"); got != want {
				t.Errorf("guess %d: %d, want %d", n, got, want)
			}
		}
		if got := try(readToken, "2001:db8::2"); got != 429 {
			t.Errorf("a good token from the same network: %d", got)
		}
		if got := try(readToken, "2001:db8:1::1"); got != 200 {
			t.Errorf("a good token from elsewhere: %d", got)
		}
		w := f.send(call{path: "/v1/health", client: "2001:db8::1"})
		if w.Code != 200 {
			t.Errorf("what needs no token: %d", w.Code)
		}
		time.Sleep(2 * time.Second)
		if got := try(readToken, "2001:db8::1"); got != 200 {
			t.Errorf("a good token later: %d", got)
		}
	})
}

func TestLockoutIsBounded(t *testing.T) {
	var l lockout
	now := time.Now()
	addr := netip.MustParseAddr("198.51.100.1")
	for range 3 * maxLocked {
		l.add(addr, now, time.Hour)
		if addr = addr.Next(); l.remaining(addr, now) != 0 {
			t.Fatalf("%s is locked out", addr)
		}
	}
	if len(l.locked) > maxLocked {
		t.Errorf("%d are remembered", len(l.locked))
	}
	l.add(addr, now.Add(2*time.Hour), time.Hour)
	if len(l.locked) != 1 || l.remaining(addr, now.Add(2*time.Hour)) != time.Hour {
		t.Errorf("%d are remembered when the time of all is over", len(l.locked))
	}
	token := new(Token)
	for range 3 * maxAdmitted {
		l.admit(addr, token, now)
		if !l.wasAdmitted(addr, token, now) {
			t.Fatalf("%s is not remembered", addr)
		}
		addr = addr.Next()
	}
	if len(l.admitted) > maxAdmitted {
		t.Errorf("%d admissions are remembered", len(l.admitted))
	}
}

// TestNeighbourOfAGuesser proves that a token that was accepted from an address lately is accepted there while
// somebody else behind the same address is locked out, and that nothing else is.
func TestNeighbourOfAGuesser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := time.Time{}
		f := start(t, func(f *fixture) {
			f.failed = 0 // the first wrong token locks out
			f.o.Tokens[0].Expires = func() time.Time { return ended }
		})
		try := func(token, client string) int {
			return f.send(call{path: "/v1/ip/203.0.113.5", token: token, client: client}).Code
		}
		expect := func(what, token, client string, want int) {
			t.Helper()
			if got := try(token, client); got != want {
				t.Errorf("%s: %d, want %d", what, got, want)
			}
		}
		expect("before anybody guesses", readToken, "198.51.100.1", 200)
		expect("a guess", "token-of-a-guess-1", "198.51.100.1", 429)
		expect("the known token", readToken, "198.51.100.1", 200)
		expect("another good token", askToken, "198.51.100.1", 429)
		expect("another guess", "token-of-a-guess-2", "198.51.100.1", 429)

		expect("a guess from elsewhere", "token-of-a-guess-3", "198.51.100.2", 429)
		expect("the token that is known from another address", readToken, "198.51.100.2", 429)

		ended = time.Now()
		expect("the known token after its end", readToken, "198.51.100.1", 429)
		ended = time.Time{}
		time.Sleep(admittedFor)
		expect("a guess an hour later", "token-of-a-guess-4", "198.51.100.1", 429)
		expect("a token that was not used for an hour", readToken, "198.51.100.1", 429)
	})
}

// TestComparingIsTheSameWork proves that all tokens are looked at, whichever is shown: each is fetched exactly once.
func TestComparingIsTheSameWork(t *testing.T) {
	fetched := make([]int, 20)
	var tokens []Token
	for i := range fetched {
		tokens = append(tokens, Token{Scope: ScopeRead, Expires: never, Value: func() (string, bool) {
			fetched[i]++
			return fmt.Sprintf("token-of-many-%010d", i), true
		}})
	}
	f := start(t, func(f *fixture) { f.o.Tokens = tokens })
	for shown := range len(tokens) + 1 { // the last is none
		clear(fetched)
		found := f.match(hashToken(fmt.Sprintf("token-of-many-%010d", shown)))
		if (found == nil) != (shown == len(tokens)) {
			t.Errorf("token %d is found: %v", shown, found != nil)
		}
		for i, n := range fetched {
			if n != 1 {
				t.Errorf("with token %d, token %d is looked at %d times", shown, i, n)
			}
		}
	}
}

// BenchmarkMatch shows that the first, the last and no token take the same time.
func BenchmarkMatch(b *testing.B) {
	var tokens []Token
	for i := range 20 {
		tokens = append(tokens, Token{Scope: ScopeRead, Expires: never, Value: text(fmt.Sprintf("token-of-many-%010d", i))})
	}
	f := start(b, func(f *fixture) { f.o.Tokens = tokens })
	for name, shown := range map[string]string{
		"first": "token-of-many-0000000000", "last": "token-of-many-0000000019", "none": "token-of-many-0000000020",
		"nearly": "token-of-many-000000001a", "far": "x",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.match(hashToken(shown))
			}
		})
	}
}
