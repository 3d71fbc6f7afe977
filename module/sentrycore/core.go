// Package sentrycore is the logging core `ip_reputation_sentry`: it reports what any part of Caddy logs as an
// error to Sentry.
package sentrycore

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/sentry"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/option"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"
)

func init() {
	caddy.RegisterModule(new(SentryCore))
}

// SentryCore reports to Sentry what any part of Caddy logs at the level ERROR, besides what the log writes.
// It groups by logger and message, sends a few of each cause, and takes out secrets, queries of URLs and
// everything about a visitor's request.
//
// Access logs are never reported, and of the errors of HTTP handlers those that visitors get as a status of
// 500 or more. What this plugin logs is left to the app's own `sentry` where there is one, so that nothing is
// reported twice.
type SentryCore struct {
	// The DSN of the project, as a placeholder: `{env.SENTRY_DSN}` or `{file./path}`. Required.
	DSN string `json:"dsn,omitempty"`

	// The name of this installation, which separates it from others such as staging. Default: `production`.
	Environment string `json:"environment,omitempty"`

	// The version that reports are attributed to. Default: `caddy-ip-reputation@` and the version of this plugin.
	Release string `json:"release,omitempty"`

	// The name of this server; `off` sends none. Default: the name of the host.
	ServerName string `json:"server_name,omitempty"`

	// The least level that is reported: `WARN` or `ERROR`. Default: `ERROR`.
	Level string `json:"level,omitempty"`

	level    zapcore.Level
	reporter *runtime.Reporter
	leases   process.Leases
	fields   []zapcore.Field // of the logger
}

// CaddyModule returns the Caddy module information.
func (*SentryCore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.cores.ip_reputation_sentry",
		New: func() caddy.Module { return new(SentryCore) },
	}
}

// Provision makes what reports, and calls nobody.
func (c *SentryCore) Provision(caddy.Context) error {
	s := c.settings()
	if err := errors.Join(c.setLevel(), s.Check()); err != nil {
		return fmt.Errorf("ip_reputation_sentry: %w", err)
	}
	if c.DSN == "" {
		return errors.New("ip_reputation_sentry: no DSN is given: write `dsn {env.SENTRY_DSN}`")
	}
	if err := secret.Check("dsn", c.DSN); err != nil {
		return fmt.Errorf("ip_reputation_sentry: %w", err)
	}
	dsn, err := secret.Resolve("dsn", c.DSN)
	if err != nil {
		return fmt.Errorf("ip_reputation_sentry: %w", err)
	}
	if err := sentry.CheckDSN(dsn); err != nil {
		return fmt.Errorf("ip_reputation_sentry: %w", err)
	}
	hash, err := process.Hash([]any{s, dsn})
	if err != nil {
		return err
	}
	c.reporter, err = runtime.OpenReporter(&c.leases, "sentry core "+hash, s, func() (string, bool) { return dsn, true })
	return err
}

func (c *SentryCore) settings() runtime.ReporterSettings {
	return runtime.ReporterSettings{Environment: c.Environment, Release: c.Release, ServerName: c.ServerName}
}

// Cleanup releases what Provision acquired.
func (c *SentryCore) Cleanup() error { return c.leases.Release() }

func (c *SentryCore) setLevel() error {
	switch strings.ToUpper(c.Level) {
	case "", "ERROR":
		c.level = zapcore.ErrorLevel
	case "WARN":
		c.level = zapcore.WarnLevel
	default:
		return fmt.Errorf("level %q: use ERROR or WARN", c.Level)
	}
	return nil
}

// Enabled implements zapcore.Core.
func (c *SentryCore) Enabled(level zapcore.Level) bool { return level >= c.level }

// With implements zapcore.Core.
func (c *SentryCore) With(fields []zapcore.Field) zapcore.Core {
	return &SentryCore{
		level: c.level, reporter: c.reporter, fields: append(c.fields[:len(c.fields):len(c.fields)], fields...),
	}
}

// Check implements zapcore.Core.
func (c *SentryCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(entry.Level) || !wanted(entry.LoggerName, entry.Level) {
		return checked
	}
	return checked.AddCore(entry, c)
}

// Write implements zapcore.Core. It does not wait, and nothing that fails with Sentry is an error of the log.
func (c *SentryCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	attrs, status := sendable(c.fields, fields)
	if within(entry.LoggerName, "http.log.error") && (status != 0 && status < 500 || strings.HasPrefix(entry.Message, request.BlockedText)) {
		return nil // what a visitor did, or a rule, nobody must act on
	}
	message := withoutPeers(entry.Message)
	if within(entry.LoggerName, "http.stdlib") {
		var panicked bool
		if message, panicked = servingPanicked(entry.Message); !panicked {
			return nil // what net/http says of visitors' connections
		}
	}
	c.reporter.Start()
	c.reporter.Report(sentry.Entry{
		Time: entry.Time, Level: levelOf(entry.Level), Logger: entry.LoggerName, Message: message, Attrs: attrs,
	})
	return nil
}

// servingPanicked returns what net/http says of a handler that panicked, with the functions that led there,
// the innermost first, and without the visitor's address and the arguments of the functions.
func servingPanicked(message string) (text string, ok bool) {
	_, said, ok := strings.Cut(message, "panic serving ")
	if !ok {
		return "", false
	}
	_, said, _ = strings.Cut(said, ": ")
	said, stack, _ := strings.Cut(said, "\ngoroutine ")
	if _, below, found := strings.Cut(stack, "\npanic("); found {
		stack = below
	}
	text = "a handler panicked: " + said
	for line := range strings.Lines(stack) {
		if function := strings.LastIndexByte(line, '('); function > 0 && line[0] != '\t' {
			text += "\nin " + line[:function]
		}
	}
	return text, true
}

// Sync implements zapcore.Core. It is not for the log to wait for Sentry.
func (*SentryCore) Sync() error { return nil }

// wanted reports whether the entries of a logger may be reported.
func wanted(logger string, level zapcore.Level) bool {
	switch {
	case within(logger, "http.log.access"), within(logger, "ip_reputation."+runtime.SentryPart):
		return false
	case strings.HasPrefix(logger, "ip_reputation.providers."), strings.HasPrefix(logger, "ip_reputation.secrets."):
		return true // guest modules, which log by themselves
	case within(logger, "ip_reputation"):
		return level < zapcore.ErrorLevel || !runtime.Reporting()
	}
	return true
}

// within reports whether a logger is the named one or one of its own.
func within(logger, name string) bool {
	return logger == name || strings.HasPrefix(logger, name+".")
}

// sendableFields are the fields that say what is wrong and tell of no visitor.
var sendableFields = map[string]bool{
	"error": true, "status": true, "err_id": true, "err_trace": true, "panic": true, "duration": true,
	"identifier": true, "identifiers": true, "issuer": true, "module": true, "adapter": true, "file": true, "upstream": true,
	"provider": true, "feed": true, "work": true, "secret": true, "source": true, "key": true,
	"cure": true, "request_id": true, "trace_id": true,
}

// sendable returns the fields that may be sent, and the HTTP status if there is one. Objects are left out
// under any name: `request` is one, with the visitor's headers and addresses. Of a namespace, so is
// everything.
func sendable(lists ...[]zapcore.Field) (attrs []slog.Attr, status int64) {
	texts := zapcore.NewMapObjectEncoder()
	for _, fields := range lists {
		for _, f := range fields {
			switch f.Type {
			case zapcore.NamespaceType:
				return attrs, status
			case zapcore.BoolType, zapcore.DurationType, zapcore.ErrorType, zapcore.StringType, zapcore.StringerType,
				zapcore.Int64Type, zapcore.Int32Type, zapcore.Int16Type, zapcore.Int8Type, zapcore.Float64Type,
				zapcore.Uint64Type, zapcore.Uint32Type, zapcore.Uint16Type, zapcore.Uint8Type:
			default:
				continue
			}
			if f.Key == "status" {
				status = f.Integer
			}
			if !sendableFields[f.Key] {
				continue
			}
			f.AddTo(texts) // which survives values whose text cannot be had
			value := texts.Fields[f.Key]
			if text, ok := value.(string); ok {
				value = withoutPeers(text)
			}
			attrs = append(attrs, slog.Any(f.Key, value))
		}
	}
	return attrs, status
}

// peer is the far end of a connection in the errors of package net, which may be a visitor.
var peer = regexp.MustCompile(`->[^\s"']*[^\s"':]`)

func withoutPeers(text string) string { return peer.ReplaceAllString(text, "->[peer]") }

func levelOf(l zapcore.Level) slog.Level {
	switch {
	case l < zapcore.ErrorLevel:
		return slog.LevelWarn
	case l == zapcore.ErrorLevel:
		return slog.LevelError
	}
	return slog.LevelError + 4
}

// UnmarshalCaddyfile reads the settings. Syntax:
//
//	core ip_reputation_sentry {
//		dsn         <placeholder>
//		environment <name>
//		release     <text>
//		server_name <name>|off
//		level       ERROR|WARN
//	}
func (c *SentryCore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		return d.Err("ip_reputation_sentry takes no value: write the DSN into a block { }, as `dsn {env.SENTRY_DSN}`")
	}
	check := func() error {
		return errors.Join(c.setLevel(), c.settings().Check())
	}
	reword := func(m option.LineError) string {
		if m.Kind == option.Duplicate {
			return fmt.Sprintf("duplicate option %q of ip_reputation_sentry: remove one", m.Word)
		}
		return ""
	}
	err := option.Block{Name: "ip_reputation_sentry", Hide: true, Reword: reword, Options: []option.Option{
		option.Once("dsn", option.Secret(&c.DSN), c.checkDSN),
		option.Once("environment", option.Text(&c.Environment, "a name such as production"), check),
		option.Once("release", option.Text(&c.Release, "the version that runs"), check),
		option.Once("server_name", option.Text(&c.ServerName, "the name of this server, or off"), check),
		option.Once("level", option.Text(&c.Level, "ERROR or WARN"), check),
	}}.Read(d)
	if err != nil {
		return err
	}
	if c.DSN == "" {
		return d.Err("ip_reputation_sentry needs a DSN: write `dsn {env.SENTRY_DSN}` into its block")
	}
	return nil
}

// checkDSN checks a DSN that stands in the configuration itself.
func (c *SentryCore) checkDSN() error {
	if secret.Placeholders(c.DSN) != "" {
		return nil
	}
	return sentry.CheckDSN(c.DSN)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*SentryCore)(nil)
	_ caddy.CleanerUpper    = (*SentryCore)(nil)
	_ caddyfile.Unmarshaler = (*SentryCore)(nil)
	_ zapcore.Core          = (*SentryCore)(nil)
)
