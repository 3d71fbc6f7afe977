// Package metrics is the plugin's Prometheus metrics: counters of what happens, and gauges of what is live now.
//
// Caddy gives every configuration a new registry and, after a reload that failed, serves the failed one's. So
// all metrics belong to the process: every configuration registers the same collector, counts go on over
// reloads, and the gauges are read, at each scrape, from the configurations that run.
//
// No label value comes from traffic: never an address, host, path or URL. Counters that requests touch are resolved
// once, so that counting is one atomic addition.
package metrics

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/bots"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const namespace = "caddy_ip_reputation"

var (
	requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "requests_total",
		Help: "Requests by the action decided on, the site's mode (observe decides but does not act) and the verdict's status.",
	}, []string{"action", "mode", "status"})

	lookups = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "lookups_total",
		Help: "Look-ups of an address by the layer that answered.",
	}, []string{"origin"})

	lookupSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "lookup_duration_seconds",
		Help:    "Duration of the look-ups that had to wait; those that memory or lists answer at once are not timed.",
		Buckets: lookupBuckets,
	}, []string{"origin"})

	botClaims = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "bot_claims_total",
		Help: "Requests whose user agent claims a bot that is verified, by what became of the claim.",
	}, []string{"outcome"})

	suspects = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "client_address_suspect_total",
		Help: "Requests whose client address may not be the visitor's, by reason; estimated from a sample.",
	}, []string{"reason"})
)

// lookupBuckets are upper bounds in seconds, from 1 µs to 1 s. The default of `wait`, 25 ms, is one of them.
var lookupBuckets = []float64{
	1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
}

// modes are the values of the label mode, by whether the site enforces.
var modes = [2]string{"observe", "enforce"}

// The series of the vectors above, made at start: a rate needs the zero before the first event.
var (
	requestCounters [reputation.NumActions][len(modes)][reputation.NumStatuses]prometheus.Counter
	lookupCounters  [reputation.NumOrigins]prometheus.Counter
	lookupTimers    [reputation.NumOrigins]prometheus.Observer
	suspectCounters [numSuspects]prometheus.Counter
	botCounters     [bots.NumOutcomes]prometheus.Counter
)

func init() {
	for a := range requestCounters {
		for m, mode := range modes {
			for s := range requestCounters[a][m] {
				requestCounters[a][m][s] = requests.WithLabelValues(
					reputation.Action(a).String(), mode, reputation.Status(s).String())
			}
		}
	}
	for o := range lookupCounters {
		origin := reputation.Origin(o).String()
		lookupCounters[o] = lookups.WithLabelValues(origin)
		lookupTimers[o] = lookupSeconds.WithLabelValues(origin)
	}
	for o := bots.Verified; o < bots.NumOutcomes; o++ {
		botCounters[o] = botClaims.WithLabelValues(o.String())
	}
	for s, reason := range suspectNames {
		suspectCounters[s] = suspects.WithLabelValues(reason)
	}
}

// CountRequest counts a request, the action that was decided, whether the site enforces it or only observes, and the
// verdict's status. It takes some nanoseconds and allocates nothing.
func CountRequest(action reputation.Action, enforce bool, status reputation.Status) {
	if action >= reputation.NumActions || status >= reputation.NumStatuses {
		return
	}
	mode := 0
	if enforce {
		mode = 1
	}
	requestCounters[action][mode][status].Inc()
}

// Enforced returns how many requests were counted with an action that was enforced, since the process began.
func Enforced(action reputation.Action) (total uint64) {
	for _, counter := range requestCounters[action][1] {
		var m dto.Metric
		if counter.Write(&m) == nil { // it has no way to fail
			total += uint64(m.GetCounter().GetValue())
		}
	}
	return total
}

// CountLookup counts a look-up and the layer that answered it.
func CountLookup(origin reputation.Origin) {
	if origin < reputation.NumOrigins {
		lookupCounters[origin].Inc()
	}
}

// CountBot counts a claim to be a bot.
func CountBot(outcome bots.Outcome) {
	if outcome > bots.Unclaimed && outcome < bots.NumOutcomes {
		botCounters[outcome].Inc()
	}
}

// ObserveLookup records how long a look-up took. It is for look-ups that had to wait: with its two readings
// of the clock it costs more than a look-up that memory answers.
func ObserveLookup(origin reputation.Origin, took time.Duration) {
	if origin < reputation.NumOrigins {
		lookupTimers[origin].Observe(took.Seconds())
	}
}

// Suspect is a reason to doubt that a client address is that of the visitor.
type Suspect uint8

// The reasons.
const (
	// SuspectNotStrict: trusted_proxies is set without trusted_proxies_strict, so that visitors can choose their address.
	SuspectNotStrict Suspect = iota
	// SuspectProxy: so many requests come from this one address that it looks like a proxy that is not trusted.
	SuspectProxy
	// SuspectMissing: Caddy named no address, as for a Unix socket.
	SuspectMissing
	// SuspectPseudo: a trusted proxy has made the address up for an IPv6 address.
	SuspectPseudo

	numSuspects = iota
)

var suspectNames = [numSuspects]string{"not_strict", "proxy", "missing", "pseudo_ipv4"}

// CountSuspects counts requests whose client address is in doubt. Samples stand for as many requests as they
// were drawn from.
func CountSuspects(reason Suspect, requests int) {
	if reason < numSuspects && requests > 0 {
		suspectCounters[reason].Add(float64(requests))
	}
}

// Register adds the metrics to a registry. It may be called repeatedly: a registry that has them already is
// no error, nor is a nil one. It fails if the registry has other metrics of the same names.
func Register(reg prometheus.Registerer) error {
	if r, ok := reg.(*prometheus.Registry); reg == nil || ok && r == nil {
		return nil
	}
	err := reg.Register(all{})
	if _, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		return nil
	}
	return err
}

// all is one collector of all metrics, so that a registry has all of them or none.
type all struct{}

var parts = []prometheus.Collector{
	requests, &scores, lookups, lookupSeconds, botClaims, suspects,
	providerRequests, providerSeconds, providerAddresses, reports, feedRefreshes, redisRequests, apiRequests,
	violations, ignoredViolations, bans, sparedBans,
	buildInfo, &shown,
}

func (all) Describe(ch chan<- *prometheus.Desc) {
	for _, p := range parts {
		p.Describe(ch)
	}
}

func (all) Collect(ch chan<- prometheus.Metric) {
	for _, p := range parts {
		p.Collect(ch)
	}
}
