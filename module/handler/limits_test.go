package handler

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/limit"
)

// refusing is a store in which other instances have used every limit up.
type refusing struct{}

func (refusing) TakeTokens(_ context.Context, b limit.Batch) (bool, time.Duration, error) {
	time.Sleep(5 * time.Millisecond)
	return false, b.Rate.Per, nil
}

// TestLimitAfterSlowHandlers proves that a limit waits for the other instances' counts, however long handlers between the
// look-up and the limit took: only the look-up's own wait counts.
func TestLimitAfterSlowHandlers(t *testing.T) {
	ctx := testContext(t)
	h := loadHandler(t, ctx, object{"mode": "enforce", "rules": []any{object{"action": "limit", "limit": "1/1m"}}})
	m := loadModule(t, ctx, "http.matchers.ip_reputation", object{"score": "85"}).(*MatchIPReputation)
	request := prepared(t, cleanAddr)
	synctest.Test(t, func(t *testing.T) {
		limiter := limit.New(limit.NewLocal(1), refusing{}, limit.Options{})
		defer limiter.Close()
		before := h.runtime.Limiter
		h.runtime.Limiter = limiter
		defer func() { h.runtime.Limiter = before }()
		r := request()
		if _, err := m.MatchWithError(r); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // a forward_auth
		if got := serve(h, r); got.Code != http.StatusTooManyRequests {
			t.Errorf("got %d, want 429", got.Code)
		}
	})
}

// TestPreflightsAreNotCounted proves that CORS preflights, and nothing that only looks like one, pass a limit that is used
// up, and no block.
func TestPreflightsAreNotCounted(t *testing.T) {
	const origin, method = "Origin", "Access-Control-Request-Method"
	ctx := testContext(t)
	h := loadHandler(t, ctx, object{"mode": "enforce", "rules": []any{object{"action": "limit", "limit": "1/1h"}}})
	ask := func(client, verb string, header ...string) int {
		r := prepared(t, client)()
		r.Method = verb
		for _, name := range header {
			r.Header.Set(name, "GET")
		}
		return serve(h, r).Code
	}
	for range 3 {
		if got := ask(listedAddr, http.MethodOptions, origin, method); got != http.StatusNoContent {
			t.Errorf("a preflight got %d", got)
		}
	}
	if got := ask(listedAddr, http.MethodGet); got != http.StatusNoContent {
		t.Errorf("the first request got %d", got)
	}
	for name, tc := range map[string]struct {
		client, verb string
		header       []string
		want         int
	}{
		"a preflight":                    {listedAddr, http.MethodOptions, []string{origin, method}, 204},
		"without an origin":              {listedAddr, http.MethodOptions, []string{method}, 429},
		"without a method":               {listedAddr, http.MethodOptions, []string{origin}, 429},
		"another method":                 {listedAddr, http.MethodGet, []string{origin, method}, 429},
		"a preflight of a denied client": {deniedAddr, http.MethodOptions, []string{origin, method}, 403},
	} {
		if got := ask(tc.client, tc.verb, tc.header...); got != tc.want {
			t.Errorf("%s: got %d, want %d", name, got, tc.want)
		}
	}
}
