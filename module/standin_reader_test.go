package module

import (
	"context"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// ReadHistory lets all apps ask a reader, or fail to have one.
func ReadHistory(tb testing.TB, reader history.Reader, err error) {
	tb.Helper()
	before := historyReader
	historyReader = func(*App, context.Context) (history.Reader, error) { return reader, err }
	tb.Cleanup(func() { historyReader = before })
}
