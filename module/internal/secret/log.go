package secret

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The causes of log messages.
const (
	causeAway = iota
	causeRefused
	causeUnknown
	causePanic
)

// allowLog reports whether a cause may be logged now, and records that a failure of the store is
// logged.
func (r *Refresher) allowLog(cause int) bool {
	if !r.logged.Allow(cause, time.Now()) {
		return false
	}
	r.loggedAway.Store(true)
	return true
}

// logFailure logs why a fetch failed, which value stays in use, and what to do.
func (r *Refresher) logFailure(err error) {
	g := r.current.Load()
	attrs := []slog.Attr{slog.String("error", err.Error()), slog.Bool("in_use", g != nil)}
	if g != nil {
		attrs = append(attrs, slog.Duration("age", time.Since(g.fetched).Round(time.Second)))
		attrs = append(attrs, fingerprintAttr("key", g)...)
	}
	ctx := context.Background()
	switch {
	case errors.Is(err, reputation.ErrRefused):
		if r.allowLog(causeRefused) {
			r.log.LogAttrs(ctx, slog.LevelError, "the store does not let this server read the secret: "+
				"check its credentials for the store, and what they allow", attrs...)
		}
	case errors.Is(err, reputation.ErrUnknown):
		if r.allowLog(causeUnknown) {
			r.log.LogAttrs(ctx, slog.LevelError, "the store has no such secret: "+
				"check how the configuration names it, and that it was written there", attrs...)
		}
	case r.allowLog(causeAway):
		r.log.LogAttrs(ctx, slog.LevelWarn, "the secret cannot be fetched: "+
			"check that its store is up and can be reached from here", attrs...)
	}
}

// logAccepted logs that the store is back, and that the value is new. It logs the fingerprint,
// never the value.
func (r *Refresher) logAccepted(old, now *snapshot) {
	if r.loggedAway.Swap(false) {
		r.log.Info("the store answers again")
	}
	switch {
	case old == nil:
		r.log.LogAttrs(context.Background(), slog.LevelInfo, "the secret was fetched", fingerprintAttr("key", now)...)
	case old.value != now.value:
		r.log.LogAttrs(context.Background(), slog.LevelInfo, "the secret has changed, and the new value is in use",
			append(fingerprintAttr("key", now), fingerprintAttr("old_key", old)...)...)
	}
}

// fingerprintAttr returns the attribute for the fingerprint of a value, or none if it is hidden.
func fingerprintAttr(attr string, g *snapshot) []slog.Attr {
	if g.fingerprint == "" {
		return nil
	}
	return []slog.Attr{slog.String(attr, g.fingerprint)}
}

// logPanic must be called by the function that recovered. The value of a panic may contain the
// secret. So the text is logged only for an error of the Go runtime, and the type for everything
// else.
func (r *Refresher) logPanic(v any) {
	if !r.allowLog(causePanic) {
		return
	}
	text := fmt.Sprintf("%T", v)
	if err, ok := v.(runtime.Error); ok {
		text = err.Error()
	}
	r.log.Error("the store panicked: report this to its author", slog.String("panic", text), slog.Any("at", callers()))
}

// callers returns the functions that panicked, the innermost first. A stack as the runtime prints
// it would show their arguments.
func callers() []string {
	pcs := make([]uintptr, 32)
	const skip = 4 // runtime.Callers, callers, logPanic, the deferred function
	frames := runtime.CallersFrames(pcs[:runtime.Callers(skip, pcs)])
	var list []string
	for {
		f, more := frames.Next()
		if f.Function != "" {
			list = append(list, f.Function+":"+strconv.Itoa(f.Line))
		}
		if !more {
			return list
		}
	}
}

// failure is an error whose text may be shown. It does not unwrap, since error collectors print
// every error of a chain. errors.Is recognizes its cause.
type failure struct {
	text  string
	cause error
}

func (f *failure) Error() string        { return f.text }
func (f *failure) Is(target error) bool { return errors.Is(f.cause, target) }

// conceal returns an error without secrets: a store may violate its contract and put one into its
// errors. value is the one that the store returned together with the error.
func (r *Refresher) conceal(err error, value string) error {
	text := redact(err.Error(), value)
	if g := r.current.Load(); g != nil {
		text = redact(text, g.value)
	}
	text = storeWords.Replace(query.ReplaceAllString(userinfo.ReplaceAllString(text, "$1"), "$1?[hidden]"))
	return &failure{foreign.Text(text), err}
}

// redactedMinLength is the length, in bytes, from which a value is redacted. A shorter one is
// part of ordinary words, and its removal from them would reveal it.
const redactedMinLength = 4

// The parts of a URL that may hold credentials.
var (
	userinfo = regexp.MustCompile(`(://)[^\s"']*@`)
	query    = regexp.MustCompile(`(://[^\s"'?]*)\?[^\s"']*`)
)

// storeWords rewrites the common errors, which speak of a reputation service, for a store.
var storeWords = strings.NewReplacer(
	reputation.ErrRefused.Error(), "the store refused this server",
	reputation.ErrUnknown.Error(), "the store has no such secret",
)

// redact removes a value from a text, also where it is escaped for a URL or quoted.
func redact(text, value string) string {
	if len(value) < redactedMinLength {
		return text
	}
	quoted := strconv.Quote(value)
	return strings.NewReplacer(
		value, "[secret]", url.QueryEscape(value), "[secret]", url.PathEscape(value), "[secret]",
		quoted[1:len(quoted)-1], "[secret]",
	).Replace(text)
}
