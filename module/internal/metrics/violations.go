package metrics

import (
	"maps"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	violations = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "violations_total",
		Help: "Violations that were counted against their clients, by name.",
	}, []string{"violation"})

	ignoredViolations = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "violations_ignored_total",
		Help: "Violations that were seen and count against nobody, by reason.",
	}, []string{"reason"})

	bans = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "bans_total",
		Help: "Bans that this instance has made, by who made them: an operator, a rule, or a violation.",
	}, []string{"by"})
)

// Ignored is a reason why a violation counts against nobody.
type Ignored uint8

// The reasons.
const (
	// IgnoredForeign: a page of another site, a prefetch or an embedded resource has caused it.
	IgnoredForeign Ignored = iota
	// IgnoredUnknown: no violation has this name.
	IgnoredUnknown
	// IgnoredBot: the client is a verified bot.
	IgnoredBot
	// IgnoredExempt: the client is exempt.
	IgnoredExempt
	// IgnoredReserved: the address is private or reserved.
	IgnoredReserved
	// IgnoredProxy: the address is that of a trusted proxy, or nearly all clients seem to have it.
	IgnoredProxy
	// IgnoredForgeable: the client may have chosen its address.
	IgnoredForgeable
	// IgnoredRefused: the site has refused the request itself.
	IgnoredRefused
	// IgnoredRepeated: the same path has counted already.
	IgnoredRepeated
	// IgnoredFull: there is no room for its client.
	IgnoredFull
	// IgnoredUntrusted: the response names it, and the site does not take violations from its application.
	IgnoredUntrusted
	// IgnoredExcess: the response names more violations than one response may.
	IgnoredExcess

	numIgnored = iota
)

var ignoredNames = [numIgnored]string{
	"foreign", "unknown", "bot", "exempt", "reserved", "proxy", "forgeable", "refused", "repeated", "full", "untrusted", "excess",
}

// String returns the reason as the label has it.
func (r Ignored) String() string {
	if r < numIgnored {
		return ignoredNames[r]
	}
	return ""
}

// BannedBy is who has made a ban.
type BannedBy uint8

// Those who make bans.
const (
	ByOperator BannedBy = iota
	ByRule
	ByViolation

	numBannedBy = iota
)

var bannedByNames = [numBannedBy]string{"operator", "rule", "violation"}

var (
	ignoredCounters [numIgnored]prometheus.Counter
	banCounters     [numBannedBy]prometheus.Counter

	// violationCounters are the counters of the names that a configuration knows. The map is replaced, never changed.
	violationCounters atomic.Pointer[map[string]prometheus.Counter]
)

func init() {
	for r, reason := range ignoredNames {
		ignoredCounters[r] = ignoredViolations.WithLabelValues(reason)
	}
	for by, name := range bannedByNames {
		banCounters[by] = bans.WithLabelValues(name)
	}
	violationCounters.Store(&map[string]prometheus.Counter{})
}

var violationOwners = owners{open: map[string]int{}, drop: func(name string) {
	changeViolations(func(counters map[string]prometheus.Counter) { delete(counters, name) })
	violations.DeleteLabelValues(name)
}}

// changeViolations replaces the counters by changed ones. The caller holds the lock of violationOwners.
func changeViolations(change func(map[string]prometheus.Counter)) {
	counters := maps.Clone(*violationCounters.Load())
	change(counters)
	violationCounters.Store(&counters)
}

// OpenViolations makes the series of the violations that a configuration knows, at zero where no other configuration
// knows them. Names are words of the configuration. The caller must call release when its configuration ends; more calls do nothing.
func OpenViolations(names ...string) (release func()) {
	var releases []func()
	for _, name := range names {
		releases = append(releases, violationOwners.acquire(name, func() {
			changeViolations(func(counters map[string]prometheus.Counter) {
				counters[name] = violations.WithLabelValues(name)
			})
		}))
	}
	return func() {
		for _, release := range releases {
			release()
		}
	}
}

// CountViolation counts a violation against its client. Names that are not open count nowhere, so that no traffic makes
// a series.
func CountViolation(name string) {
	if counter, ok := (*violationCounters.Load())[name]; ok {
		counter.Inc()
	}
}

// CountIgnoredViolation counts a violation that counts against nobody.
func CountIgnoredViolation(reason Ignored) {
	if reason < numIgnored {
		ignoredCounters[reason].Inc()
	}
}

// CountBan counts a ban that this instance has made.
func CountBan(by BannedBy) {
	if by < numBannedBy {
		banCounters[by].Inc()
	}
}
