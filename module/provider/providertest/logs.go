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

// logs is what the process has logged through the standard library since capture.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer

	logger *slog.Logger
	output io.Writer
	flags  int
}

// The standard library has one log: calls that run side by side share what is captured of it.
var captured struct {
	sync.Mutex
	users int
	logs  *logs
}

// capture redirects the standard library's logs. What it returns is restored by the caller.
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

// restore ends what capture began.
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

// fault returns what was logged that must not be.
func (l *logs) fault(baseURL string, addr netip.Addr, key string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if what := leak(l.text.String(), baseURL, addr, key); what != "" {
		return fmt.Errorf("the log holds %s: %s", what, l.text.String())
	}
	return nil
}
