package module

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/sentry"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"
)

// Sentry is where errors that somebody must act on are reported to, grouped by cause, a few of each: what
// this plugin logs at the level ERROR. Secrets and queries of URLs are taken out before a report leaves.
// Nothing waits for Sentry.
type Sentry struct {
	// The DSN of the project. It is a secret: write a placeholder, or name a store. Required.
	DSN secret.Secret `json:"dsn,omitzero"`

	// The name of this installation, which separates it from others such as staging. Default: `production`.
	Environment string `json:"environment,omitempty"`

	// The version that reports are attributed to. Default: `caddy-ip-reputation@` and the version of this plugin.
	Release string `json:"release,omitempty"`

	// The name of this server; `off` sends none. Default: the name of the host.
	ServerName string `json:"server_name,omitempty"`
}

// Check reports what Sentry would refuse.
func (s *Sentry) Check() error { return s.settings().Check() }

// CheckDSN reports what is wrong with a DSN that stands in the configuration itself.
func (s *Sentry) CheckDSN() error { return s.DSN.CheckValue(sentry.CheckDSN) }

func (s *Sentry) settings() runtime.ReporterSettings {
	return runtime.ReporterSettings{Environment: s.Environment, Release: s.Release, ServerName: s.ServerName}
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
	hash, err := process.Hash(a.Sentry) // the raw store is gone once it is loaded
	if err != nil {
		return err
	}
	dsn, err := a.Sentry.DSN.OpenFor(ctx, a.runtime, "sentry", "sentry", true)
	if err != nil {
		return err
	}
	if value, ok := dsn.Current(); ok {
		if err := sentry.CheckDSN(value); err != nil {
			return err
		}
		if u, err := url.Parse(value); err == nil && u.Scheme == "http" && !address.IsLoopback(u.Hostname()) {
			a.runtime.Logger.Warn("errors are reported to sentry without encryption: use a DSN that begins with https://")
		}
	}
	reporter, err := runtime.OpenReporter(&a.runtime.Leases, "sentry "+hash, a.Sentry.settings(), dsn.Current)
	if err != nil {
		return err
	}
	a.runtime.SetReporter(reporter)
	return nil
}
