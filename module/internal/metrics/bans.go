package metrics

import "github.com/prometheus/client_golang/prometheus"

var (
	bans = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "bans_total",
		Help: "Bans that were made on this instance, by who made them.",
	}, []string{"by"})

	sparedBans = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "bans_spared_total",
		Help: "How often a rule or a violation would have banned a client that must not or could not be banned, by reason.",
	}, []string{"reason"})
)

// The values of the labels.
var (
	banMakers   = []string{"operator", "rule", "violation"}
	sparedWords = []string{
		"reserved", "exempt", "bot", "proxy", "forgeable", "early_data", "one_address", "network", "full", "queue", "burst",
	}
)

func init() {
	for _, by := range banMakers {
		bans.WithLabelValues(by)
	}
	for _, reason := range sparedWords {
		sparedBans.WithLabelValues(reason)
	}
}

// CountBan counts a ban.
func CountBan(by string) { bans.WithLabelValues(by).Inc() }

// CountSparedBan counts a client that was not banned.
func CountSparedBan(reason string) { sparedBans.WithLabelValues(reason).Inc() }
