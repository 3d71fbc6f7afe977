package module

import (
	"errors"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

var errNoHistory = errors.New("no history is kept: add `history {env.DATABASE_URL}` to the global ip_reputation options")

// reader returns what answers questions about the history.
func (a *App) reader() (history.Reader, error) {
	return nil, errNoHistory
}
