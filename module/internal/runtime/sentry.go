package runtime

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/sentry"
)

const (
	// SentryPart names the logger for reports that cannot be delivered. Its entries are not reported.
	SentryPart = "sentry"

	// flushWithin is how long waiting reports may take when nobody reports there any more.
	flushWithin = 2 * time.Second

	// flushAtExit is the same when the process ends and waits for it.
	flushAtExit = time.Second
)

// Reporter reports errors to Sentry for one or more modules.
type Reporter struct{ *sentry.Reporter }

// Start begins to send, unless it has begun. The nil Reporter does nothing.
func (r *Reporter) Start() {
	if r != nil {
		r.Reporter.Start()
	}
}

// ReporterSettings are what each report says of this installation.
type ReporterSettings struct {
	Environment string // default: `production`
	Release     string // default: `caddy-ip-reputation@` and the version of this plugin
	ServerName  string // `off` does not say; default: the name of the host
}

// Check reports what Sentry would refuse.
func (s ReporterSettings) Check() error {
	for _, c := range []struct {
		what, value string
		most        int
		not         string
	}{
		{"environment", s.Environment, 64, " \t\r\n/"},
		{"release", s.Release, 200, "\t\r\n/\\"},
		{"server_name", s.ServerName, 200, "\t\r\n"},
	} {
		if len(c.value) > c.most || strings.ContainsAny(c.value, c.not) {
			return fmt.Errorf("%s %q: use at most %d bytes, and none of %q", c.what, c.value, c.most, c.not)
		}
	}
	return nil
}

// options are the settings as the reporter takes them.
func (s ReporterSettings) options(dsn func() (string, bool)) sentry.Options {
	o := sentry.Options{
		DSN:         dsn,
		Release:     cmp.Or(s.Release, "caddy-ip-reputation@"+metrics.Version()),
		Environment: s.Environment,
		ServerName:  s.ServerName,
		Scrub:       func(text string) string { return CurrentPrivacy().Text(text) },
		Logger:      ProcessLogger(SentryPart),
	}
	switch o.ServerName {
	case "":
		o.ServerName, _ = os.Hostname()
	case "off":
		o.ServerName = ""
	}
	return o
}

// OpenReporter finds or opens the reporter to the project of a DSN. The key is made of the settings.
func OpenReporter(leases *process.Leases, key string, s ReporterSettings, dsn func() (string, bool)) (*Reporter, error) {
	o := s.options(dsn)
	return process.Share(leases, key, func() (*Reporter, func() error, error) {
		r := &Reporter{sentry.Open(o)}
		return r, r.close, nil
	})
}

// close sends what is waiting. A reload does not wait for Sentry; the end of the process does, for a moment.
func (r *Reporter) close() error {
	if caddy.Exiting() {
		ctx, cancel := context.WithTimeout(context.Background(), flushAtExit)
		defer cancel()
		r.Close(ctx)
		return nil
	}
	process.Background.Go(func(shutdown context.Context) {
		ctx, cancel := context.WithTimeout(shutdown, flushWithin)
		defer cancel()
		r.Close(ctx)
	})
	return nil
}

// SetReporter makes the configuration's errors reports, too.
func (rt *Runtime) SetReporter(r *Reporter) { rt.reporter.Store(r) }

// Reporting reports whether this plugin's errors are reported at present.
func Reporting() bool { return currentReporter() != nil }

// currentReporter returns the reporter of the configuration that serves. Where it has none, or none serves,
// it is that of the configuration that is about to serve, or of the one that did.
func currentReporter() *sentry.Reporter {
	for _, rt := range []*Runtime{Serving(), registry.loaded.Load()} {
		if rt == nil {
			continue
		}
		if r := rt.reporter.Load(); r != nil {
			return r.Reporter
		}
	}
	return nil
}

// reported makes the handler's errors reports, too, while there is a reporter.
func reported(h slog.Handler, logger string) slog.Handler {
	return sentry.Tee(h, logger, currentReporter)
}
