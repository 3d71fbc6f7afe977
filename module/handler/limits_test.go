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
