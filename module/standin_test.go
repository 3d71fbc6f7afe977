package module

import (
	"context"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
)

// TellBurstsAtOnce does without the minutes of history that a burst of blocks is measured by.
func TellBurstsAtOnce(tb testing.TB) {
	tb.Helper()
	before := runtime.Events.History
	runtime.Events.History = 0
	tb.Cleanup(func() { runtime.Events.History = before })
}

// ReadHistory makes the configuration that serves ask a reader, or fail to have one.
func ReadHistory(tb testing.TB, reader history.Reader, err error) {
	tb.Helper()
	rt := runtime.Serving()
	before := rt.OpenHistory
	rt.OpenHistory = func(context.Context) (history.Reader, error) { return reader, err }
	tb.Cleanup(func() { rt.OpenHistory = before })
}
