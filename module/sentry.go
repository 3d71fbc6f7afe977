package module

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/sentry"
)

// Sentry is where errors that somebody must act on are reported to, grouped by cause, a few of each: what this plugin logs
// at the level ERROR. Secrets and queries of URLs are taken out before a report leaves. Nothing waits for Sentry.
type Sentry struct {
	// The DSN of the project. It is a secret: write a placeholder, or name a store. Required.
	DSN Secret `json:"dsn,omitzero"`

	// What tells this installation from others, such as staging ones. Default: `production`.
	Environment string `json:"environment,omitempty"`

	// The version that reports are attributed to. Default: `caddy-ip-reputation@` and the version of this plugin.
	Release string `json:"release,omitempty"`

	// What tells this server from others; `off` does not say. Default: the name of the host.
	ServerName string `json:"server_name,omitempty"`
}

// Check reports what Sentry would refuse.
func (s *Sentry) Check() error {
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
func (s *Sentry) options(dsn func() (string, bool)) sentry.Options {
	o := sentry.Options{
		DSN:         dsn,
		Release:     cmp.Or(s.Release, "caddy-ip-reputation@"+metrics.Version()),
		Environment: s.Environment,
		ServerName:  s.ServerName,
		Scrub:       func(text string) string { return privacyNow().Text(text) },
		Logger:      processLogger(sentryPart),
	}
	switch o.ServerName {
	case "":
		o.ServerName, _ = os.Hostname()
	case "off":
		o.ServerName = ""
	}
	return o
}

const (
	// sentryPart names the logger that says that reports cannot be delivered, which is not reported itself.
	sentryPart = "sentry"

	// flushWithin is how long the reports that wait may take when nobody reports there any more.
	flushWithin = 2 * time.Second

	// flushAtExit is the same when the process ends and waits for it.
	flushAtExit = time.Second
)

// pooledReporter reports for one or more configurations.
type pooledReporter struct {
	*sentry.Reporter
	started atomic.Bool
}

func newPooledReporter(o sentry.Options) *pooledReporter {
	return &pooledReporter{Reporter: sentry.Open(o)}
}

func (p *pooledReporter) start() {
	if p == nil || p.started.Swap(true) {
		return
	}
	p.Start()
	reporters.change(func(all []*pooledReporter) []*pooledReporter { return all })
}

// Destruct implements caddy.Destructor. A reload does not wait for Sentry; the end of the process does, for a moment.
func (p *pooledReporter) Destruct() error {
	reporters.remove(p)
	if caddy.Exiting() {
		ctx, cancel := context.WithTimeout(context.Background(), flushAtExit)
		defer cancel()
		p.Close(ctx)
		return nil
	}
	lingering.Go(func() {
		ctx, cancel := context.WithTimeout(hurry, flushWithin)
		defer cancel()
		p.Close(ctx)
	})
	return nil
}

// provisionSentry finds or makes what reports errors.
func (a *App) provisionSentry(ctx caddy.Context) error {
	if a.Sentry == nil {
		return nil
	}
	if err := a.Sentry.Check(); err != nil {
		return fmt.Errorf("sentry: %w", err)
	}
	if a.Sentry.DSN.Value == "" && a.Sentry.DSN.StoreRaw == nil {
		return errors.New("sentry: no DSN is given: write `sentry {env.SENTRY_DSN}`, or name a store")
	}
	hash, err := hashOf(a.Sentry) // the raw store is gone once it is loaded
	if err != nil {
		return err
	}
	dsn, err := a.provisionSecret(ctx, "sentry", "sentry", &a.Sentry.DSN)
	if err != nil {
		return err
	}
	if value, ok := dsn.Current(); ok {
		if err := sentry.CheckDSN(value); err != nil {
			return err
		}
		if u, err := url.Parse(value); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
			a.logger.Warn("errors are reported to sentry without encryption: use a DSN that begins with https://")
		}
	}
	a.sentry, err = acquire(a, "sentry "+hash, func() (*pooledReporter, error) {
		p := newPooledReporter(a.Sentry.options(dsn.Current))
		reporters.add(p)
		return p, nil
	})
	return err
}

// reporters are those that apps report to. The newest that is started gets what is logged: during a reload there are two.
var reporters reporterList

type reporterList struct {
	mu     sync.Mutex
	all    []*pooledReporter
	newest atomic.Pointer[sentry.Reporter]
}

// current returns the reporter in use, or nil.
func (l *reporterList) current() *sentry.Reporter { return l.newest.Load() }

func (l *reporterList) add(p *pooledReporter) {
	l.change(func(all []*pooledReporter) []*pooledReporter { return append(all, p) })
}

func (l *reporterList) remove(p *pooledReporter) {
	l.change(func(all []*pooledReporter) []*pooledReporter {
		return slices.DeleteFunc(all, func(other *pooledReporter) bool { return other == p })
	})
}

func (l *reporterList) change(f func([]*pooledReporter) []*pooledReporter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = f(l.all)
	// one that is not started belongs to a configuration that may yet be refused
	var newest *sentry.Reporter
	for _, p := range l.all {
		if newest == nil || p.started.Load() {
			newest = p.Reporter
		}
	}
	l.newest.Store(newest)
}

// reported lets the handler's errors be reported too, while an app with sentry is there.
func reported(h slog.Handler, logger string) slog.Handler {
	return sentry.Tee(h, logger, reporters.current)
}
