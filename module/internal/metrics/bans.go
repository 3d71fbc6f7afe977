package metrics

import "github.com/prometheus/client_golang/prometheus"

var (
	bans = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "bans_total",
		Help: "Bans that this instance has made, by who made them: an operator, a rule, or a violation.",
	}, []string{"by"})

	sparedBans = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "bans_spared_total",
		Help: "How often a rule or a violation would have banned a client that must not or could not be banned, by reason.",
	}, []string{"reason"})
)

var (
	banCounters    = readyCounters(bans, []string{"operator", "rule", "violation"})
	sparedCounters = readyCounters(sparedBans, []string{
		"reserved", "exempt", "verified_bot", "trusted_proxy", "forwarded", "early_data", "everybody", "no_address",
		"foreign", "claimed_bot", "network", "full", "queue", "burst",
	})
)

// CountBan counts a ban that this instance has made: by an operator, a rule, or a violation.
func CountBan(by string) {
	if counter, ok := banCounters[by]; ok {
		counter.Inc()
	}
}

// CountSparedBan counts a client that was not banned.
func CountSparedBan(reason string) {
	if counter, ok := sparedCounters[reason]; ok {
		counter.Inc()
	}
}
