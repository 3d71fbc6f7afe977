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
)

// ignoredReasons are the reasons why a violation counts against nobody: of its request, its client, its name, and of what
// is remembered of the client.
var ignoredReasons = []string{
	"foreign", "early_data", "forwarded", "no_address", "refused",
	"exempt", "reserved", "verified_bot", "trusted_proxy", "everybody",
	"unknown", "untrusted", "excess",
	"repeated", "disabled",
}

var (
	ignoredCounters = readyCounters(ignoredViolations, ignoredReasons)

	// violationCounters are the counters of the names that a configuration knows. The map is replaced, never changed.
	violationCounters atomic.Pointer[map[string]prometheus.Counter]
)

func init() { violationCounters.Store(&map[string]prometheus.Counter{}) }

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
// knows them. Names are words of the configuration. The caller must call release when its configuration ends; more calls
// do nothing.
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

// CountIgnoredViolation counts a violation that counts against nobody. Other words than ignoredReasons count nowhere.
func CountIgnoredViolation(reason string) {
	if counter, ok := ignoredCounters[reason]; ok {
		counter.Inc()
	}
}
