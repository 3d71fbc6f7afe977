package redis

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	goredis "github.com/redis/go-redis/v9"
)

// useLogger sends what the library has to say to our log. The library has one logger a process, which writes to standard
// error unless told otherwise, a line for each connection that fails; health says the same once a minute.
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
		l.DebugContext(ctx, "redis library", slog.String("text", fmt.Sprintf(format, args...)))
	}
}
