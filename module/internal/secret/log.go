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

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The causes of log messages.
const (
	causeAway = iota
	causeRefused
	causeUnknown
	causePanic
)

// once reports whether a cause may be logged now, and takes note that the store was said to give no answer.
func (r *Refresher) once(cause int) bool {
	if !r.logged.Allow(cause, time.Now()) {
		return false
	}
	r.saidAway.Store(true)
	return true
}

// logFailure logs why a fetch brought nothing, which value is in use instead, and what to do.
func (r *Refresher) logFailure(err error) {
	g := r.value.Load()
	attrs := []slog.Attr{slog.String("error", err.Error()), slog.Bool("in_use", g != nil)}
	if g != nil {
		attrs = append(attrs, slog.Duration("age", time.Since(g.fetched).Round(time.Second)))
		attrs = append(attrs, named("key", g)...)
	}
	ctx := context.Background()
	switch {
	case errors.Is(err, reputation.ErrRefused):
		if r.once(causeRefused) {
			r.log.LogAttrs(ctx, slog.LevelError, "the store does not let this server read the secret: "+
				"check its credentials for the store, and what they allow", attrs...)
		}
	case errors.Is(err, reputation.ErrUnknown):
		if r.once(causeUnknown) {
			r.log.LogAttrs(ctx, slog.LevelError, "the store has no such secret: "+
				"check how the configuration names it, and that it was written there", attrs...)
		}
	case r.once(causeAway):
		r.log.LogAttrs(ctx, slog.LevelWarn, "the secret cannot be fetched: "+
			"check that its store is up and can be reached from here", attrs...)
	}
}

// logAccepted logs what is new about a good fetch, if anything. The value is logged by its fingerprint only.
func (r *Refresher) logAccepted(old, now *good) {
	if r.saidAway.Swap(false) {
		r.log.Info("the store answers again")
	}
	switch {
	case old == nil:
		r.log.LogAttrs(context.Background(), slog.LevelInfo, "the secret was fetched", named("key", now)...)
	case old.value != now.value:
		r.log.LogAttrs(context.Background(), slog.LevelInfo, "the secret has changed, and the new value is in use",
			append(named("key", now), named("old_key", old)...)...)
	}
}

// named is the attribute that names a value, unless that is hidden.
func named(attr string, g *good) []slog.Attr {
	if g.fingerprint == "" {
		return nil
	}
	return []slog.Attr{slog.String(attr, g.fingerprint)}
}

// logPanic must be called by the function that recovered. What a store panics with may well hold the secret, so only what
// the runtime says is shown, and of everything else its type.
func (r *Refresher) logPanic(v any) {
	if !r.once(causePanic) {
		return
	}
	text := fmt.Sprintf("%T", v)
	if err, ok := v.(runtime.Error); ok {
		text = err.Error()
	}
	r.log.Error("the store panicked: report this to its author", slog.String("panic", text), slog.Any("at", callers()))
}

// callers returns the functions that panicked, the innermost first. A stack as the runtime prints it would show their
// arguments.
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

// failure is an error whose text may be shown. It does not unwrap, since what collects errors prints each of a chain; what
// kind it is can be asked with errors.Is.
type failure struct {
	text  string
	cause error
}

func (f *failure) Error() string        { return f.text }
func (f *failure) Is(target error) bool { return errors.Is(f.cause, target) }

// conceal makes an error presentable: a store may not keep the contract that its errors hold no secret. The given value is
// what came along with the error.
func (r *Refresher) conceal(err error, value string) error {
	text := redact(err.Error(), value)
	if g := r.value.Load(); g != nil {
		text = redact(text, g.value)
	}
	text = ofSecrets.Replace(query.ReplaceAllString(userinfo.ReplaceAllString(text, "$1"), "$1?[hidden]"))
	if len(text) > maxLogText {
		text = strings.ToValidUTF8(text[:maxLogText], "") + "…"
	}
	return &failure{text, err}
}

const (
	// maxLogText is how much of an error's text is logged, in bytes.
	maxLogText = 300

	// leastRedacted is the length, in bytes, from which on a value is looked for in texts. What is shorter is part of
	// ordinary words, and taking it out of them would tell it.
	leastRedacted = 4
)

// What may hold credentials in a URL.
var (
	userinfo = regexp.MustCompile(`(://)[^\s"']*@`)
	query    = regexp.MustCompile(`(://[^\s"'?]*)\?[^\s"']*`)
)

// ofSecrets says of a store what the errors of the vocabulary say of a reputation service.
var ofSecrets = strings.NewReplacer(
	reputation.ErrRefused.Error(), "the store refused this server",
	reputation.ErrUnknown.Error(), "the store has no such secret",
)

// redact takes a value out of a text, in the spellings that it may have in URLs and in quotes.
func redact(text, value string) string {
	if len(value) < leastRedacted {
		return text
	}
	quoted := strconv.Quote(value)
	return strings.NewReplacer(
		value, "[secret]", url.QueryEscape(value), "[secret]", url.PathEscape(value), "[secret]",
		quoted[1:len(quoted)-1], "[secret]",
	).Replace(text)
}
