package redis

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
)

// useLogger sends the library's log to logger, at debug level. The library has one logger per
// process. By default, it writes a line to standard error for each failed connection; health logs
// that once a minute.
func useLogger(logger *slog.Logger) {
	if logger == nil {
		return
	}
	bridge.Do(func() { goredis.SetLogger(libraryLog{logger}) })
}

var bridge sync.Once

type libraryLog struct{ *slog.Logger }

// Printf implements the library's logger.
func (l libraryLog) Printf(ctx context.Context, format string, args ...any) {
	if l.Enabled(ctx, slog.LevelDebug) {
		l.DebugContext(ctx, "redis library", slog.String("text", foreign.Text(fmt.Sprintf(format, args...))))
	}
}
