package redis

import (
	"errors"
	"log/slog"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
)

// refusedFor is how long after a refused call Redis counts as one that refuses some.
const refusedFor = time.Minute

// refusal is the last call that Redis refused for a reason which other calls may not have: the user lacks the right to
// one command, or a key holds something else than ours. Its purpose fails silently else.
type refusal struct {
	err error
	at  time.Time
}

func (r *refusal) note(err error, now time.Time) { r.err, r.at = err, now }

// text returns why calls are refused, or the empty string.
func (r *refusal) text(now time.Time) string {
	if r.err == nil || now.Sub(r.at) > refusedFor {
		return ""
	}
	return r.err.Error()
}

// notPublishedError is what the scripts tolerate: the others then hear of changes within seconds.
type notPublishedError string

func (e notPublishedError) Error() string {
	return "the others hear of violations and bans of this instance within seconds only: PUBLISH: " + string(e)
}

// notePublishing records why a script may not publish; the empty string if it may.
func (h *health) notePublishing(why string, now time.Time) {
	if why == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused.note(notPublishedError(foreign.Text(why)), now)
}

// ofOneCall reports whether an error says nothing about other calls.
func ofOneCall(result Result, err error) bool {
	var server goredis.Error
	if !errors.As(err, &server) {
		return false
	}
	text := server.Error()
	return result == Denied || strings.HasPrefix(text, "WRONGTYPE ") || strings.Contains(text, "user_script:")
}

// logRefused logs once a minute for each cause that Redis refuses some calls, while a probe succeeds. The caller holds
// the lock of health.
func (c *Client) logRefused() {
	h, now := &c.health, time.Now()
	text := h.refused.text(now)
	if text == "" || !h.causes.Allow("refused "+text, now) {
		return
	}
	result := ResultOf(h.refused.err)
	if errors.As(h.refused.err, new(notPublishedError)) {
		result = Denied
	}
	c.log.Warn("redis answers, but refuses some calls: what they are for is not shared",
		slog.String("error", text), slog.String("cure", cureOf(result, h.refused.err)))
}
