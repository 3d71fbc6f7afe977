package providertest

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/netip"
	"sync"
)

// logs are the log entries of the process, through the standard library, since capture.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer

	logger *slog.Logger
	output io.Writer
	flags  int
}

// The standard library has one log, so concurrent calls share the captured entries.
var captured struct {
	sync.Mutex
	users int
	logs  *logs
}

// capture redirects the standard library's logs. The caller must call restore.
func capture() *logs {
	captured.Lock()
	defer captured.Unlock()
	if captured.users++; captured.users > 1 {
		return captured.logs
	}
	l := &logs{logger: slog.Default(), output: log.Writer(), flags: log.Flags()}
	slog.SetDefault(slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})))
	log.SetOutput(l)
	captured.logs = l
	return l
}

// restore ends a capture. The last one restores the logs.
func (l *logs) restore() {
	captured.Lock()
	defer captured.Unlock()
	if captured.users--; captured.users > 0 {
		return
	}
	slog.SetDefault(l.logger)
	log.SetOutput(l.output)
	log.SetFlags(l.flags)
}

// Write implements io.Writer.
func (l *logs) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(text)
}

// fault returns an error if a secret was logged.
func (l *logs) fault(baseURL string, addr netip.Addr, key string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if what := leak(l.text.String(), baseURL, addr, key); what != "" {
		return fmt.Errorf("the log holds %s: %s", what, l.text.String())
	}
	return nil
}
