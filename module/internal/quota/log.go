package quota

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The causes of log messages, in addition to the results of calls.
const (
	causeLedger = reputation.NumResults + iota
	causePanic
)

// logOutcome logs the outcome of a call. An answer is not logged, unless it closes the breaker.
// others are further addresses that the call was about.
func (g *Guard) logOutcome(
	ctx context.Context, q reputation.Query, err error, c change, now time.Time, others ...netip.Addr,
) {
	result := reputation.ResultOf(err)
	switch {
	case c.refused && q.Key == "":
		g.log.WarnContext(ctx, "the service refuses to answer", "until", c.until, "error", redact(err.Error(), q, others...))
	case c.refused:
		g.log.WarnContext(ctx, "the service refused the key: "+
			"check the key and its plan, or give another, which is used at once",
			"key", g.nameKey(q.Key), "until", c.until, "error", redact(err.Error(), q, others...))
	case c.throttled && g.budget.logged.Allow(int(result), now):
		g.log.WarnContext(ctx, "the service asks for a pause", "until", c.until)
	case isFailure(result) && g.budget.logged.Allow(int(result), now):
		g.log.WarnContext(ctx, "the service gave no answer",
			"result", result.String(), "error", redact(err.Error(), q, others...))
	}
	switch c.breaker {
	case "open":
		g.log.WarnContext(ctx, "the service fails and is left alone for a while", "until", c.until)
	case "closed":
		g.log.InfoContext(ctx, "the service answers again")
	}
}

func isFailure(r reputation.Result) bool {
	return r == reputation.ResultTimeout || r == reputation.ResultError || r == reputation.ResultBadAnswer
}

func (g *Guard) logLedgerFailure(ctx context.Context, err error) {
	if g.budget.logged.Allow(causeLedger, time.Now()) {
		g.log.ErrorContext(ctx, "calls cannot be counted and are not made", "error", err)
	}
}

// logPanic must be called by the function that recovered.
func (g *Guard) logPanic(ctx context.Context, q reputation.Query, v any, others []netip.Addr) {
	if g.budget.logged.Allow(causePanic, time.Now()) {
		g.log.ErrorContext(ctx, "the provider panicked: report this to its author",
			slog.String("panic", redact(fmt.Sprint(v), q, others...)), slog.Any("at", callers()))
	}
}

// callers returns the functions that panicked, the innermost first. A stack as the runtime prints
// it would show their arguments, and the address is one of them.
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

// redact removes the key and the addresses that were asked about from a text. A provider may violate
// its contract and put them into its errors, and net.DNSError contains the queried name.
func redact(text string, q reputation.Query, others ...netip.Addr) string {
	key := q.Key
	if key != "" {
		text = strings.NewReplacer(
			key, "[key]", url.QueryEscape(key), "[key]", url.PathEscape(key), "[key]",
		).Replace(text)
	}
	var spellings []string
	for _, addr := range append([]netip.Addr{q.Addr}, others...) {
		spellings = append(spellings,
			addr.String(), addr.StringExpanded(), url.QueryEscape(addr.String()), reversedLabels(addr))
	}
	// the longest first: one address may be the beginning of another
	slices.SortFunc(spellings, func(a, b string) int { return len(b) - len(a) })
	var replaced []string
	for _, s := range spellings {
		replaced = append(replaced, s, "[address]")
	}
	return foreign.Text(strings.NewReplacer(replaced...).Replace(text))
}

// reversedLabels returns the address in the form used by DNS lists (RFC 5782): its octets, or for
// IPv6 its nibbles, in reverse order.
func reversedLabels(addr netip.Addr) string {
	labels := strings.Split(strings.ReplaceAll(addr.StringExpanded(), ":", ""), "")
	if addr.Is4() {
		labels = strings.Split(addr.String(), ".")
	}
	slices.Reverse(labels)
	return strings.Join(labels, ".")
}
