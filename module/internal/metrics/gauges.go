package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/mmdb"
)

// family is a metric that is read from the state of an instance at each scrape.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(s *health.State, emit emit)
}

// emit adds a series to a family. The labels are those of the family, in its order.
type emit func(value float64, labels ...string)

func gauge(name, help string, labels []string, read func(*health.State, emit)) family {
	return family{prometheus.NewDesc(namespace+"_"+name, help, labels, nil), prometheus.GaugeValue, read}
}

// counter is a family that starts at zero with what it is read from. A rate treats that as a restart.
func counter(name, help string, labels []string, read func(*health.State, emit)) family {
	return family{prometheus.NewDesc(namespace+"_"+name, help, labels, nil), prometheus.CounterValue, read}
}

// families are all metrics that are read from the state. A new one is a row here.
var families = []family{
	gauge("protection_off",
		"Whether visitors are not protected for this reason, though everything works (1), or they are (0).",
		[]string{"reason"}, func(s *health.State, emit emit) {
			s.ProtectionOff(func(reason string, off bool) { emit(value(off), reason) })
		}),
	gauge("sites", "Sites of this Caddy, by whether the handler ip_reputation is in them.",
		[]string{"handler"}, func(s *health.State, emit emit) {
			if s.Sites != nil {
				emit(float64(s.Sites.Protected), "yes")
				emit(float64(s.Sites.All-s.Sites.Protected), "no")
			}
		}),
	gauge("bans", "Bans in force that were made at run time, by who made them.",
		[]string{"by"}, func(s *health.State, emit emit) {
			for by, n := range s.Bans.By {
				emit(float64(n), by)
			}
		}),
	gauge("provider_up",
		"Whether the provider is being asked (1), or left alone after repeated failures (0). It is 1 before the first call.",
		[]string{"provider"}, func(s *health.State, emit emit) {
			for _, p := range s.Providers {
				emit(value(p.Up), p.Name)
			}
		}),
	gauge("provider_quota_remaining", "Requests left in the current window of a provider's quota.",
		[]string{"provider", "window"}, func(s *health.State, emit emit) {
			for _, p := range s.Providers {
				for _, w := range p.Windows {
					emit(float64(w.Remaining()), p.Name, w.Period)
				}
			}
		}),
	gauge("provider_quota_limit", "Requests that a provider's quota includes in a window.",
		[]string{"provider", "window"}, func(s *health.State, emit emit) {
			for _, p := range s.Providers {
				for _, w := range p.Windows {
					emit(float64(w.Limit), p.Name, w.Period)
				}
			}
		}),
	gauge("provider_price",
		"How much an answer must be worth for the provider to be asked, from 0 (its quota is not short) to 1.",
		[]string{"provider"}, func(s *health.State, emit emit) {
			for _, p := range s.Providers {
				if len(p.Windows) > 0 {
					emit(p.Price, p.Name)
				}
			}
		}),
	gauge("key_expiry_timestamp_seconds",
		"When a key of a provider ends, in seconds since 1970, for keys of which that is known.",
		[]string{"provider", "key"}, func(s *health.State, emit emit) {
			for _, k := range s.Keys {
				// a lease always ends soon, which is no reason for an alert
				if !k.Expires.IsZero() && !k.Lease {
					emit(unix(k.Expires), k.Name, k.Fingerprint)
				}
			}
		}),
	gauge("feed_entries", "Prefixes of a feed that are in use.",
		[]string{"feed"}, eachFeed(func(l *health.List, emit emit) { emit(float64(l.Entries), l.Name) })),
	gauge("feed_patience_seconds", "How long a feed that is fetched may be without a success until it is stale.",
		[]string{"feed"}, eachFeed(func(l *health.List, emit emit) {
			if l.Patience > 0 {
				emit(l.Patience.Seconds(), l.Name)
			}
		})),
	gauge("feed_last_success_timestamp_seconds",
		"When the feed was last refreshed with success, in seconds since 1970; 0 means never.",
		[]string{"feed"}, eachFeed(func(l *health.List, emit emit) { emit(unix(l.LastSuccess), l.Name) })),
	gauge("feed_content_timestamp_seconds",
		"When the feed's publisher last changed it, in seconds since 1970, for feeds of which that is known.",
		[]string{"feed"}, eachFeed(func(l *health.List, emit emit) {
			if !l.Published.IsZero() {
				emit(unix(l.Published), l.Name)
			}
		})),
	gauge("feed_max_age_seconds", "How long ago a feed's publisher may have changed it until the feed is old.",
		[]string{"feed"}, eachFeed(func(l *health.List, emit emit) {
			if l.MaxAge > 0 {
				emit(l.MaxAge.Seconds(), l.Name)
			}
		})),
	gauge("database_up",
		"Whether the present file of a database of facts is in force (1), or an earlier one, or none (0).",
		[]string{"database"}, eachDatabase(func(d *mmdb.Status, emit emit) { emit(value(d.Loaded && d.Problem == ""), d.Name) })),
	gauge("database_build_timestamp_seconds",
		"When the database that is in force was made, in seconds since 1970, if it says so.",
		[]string{"database"}, eachDatabase(func(d *mmdb.Status, emit emit) {
			if !d.Built.IsZero() {
				emit(unix(d.Built), d.Name)
			}
		})),
	gauge("database_max_age_seconds", "How old a database may become until it is too old; missing if it may be of any age.",
		[]string{"database"}, eachDatabase(func(d *mmdb.Status, emit emit) {
			if d.MaxAge > 0 {
				emit(d.MaxAge.Seconds(), d.Name)
			}
		})),
	gauge("database_networks", "Networks of a database of facts that are in use.",
		[]string{"database"}, eachDatabase(func(d *mmdb.Status, emit emit) { emit(float64(d.Networks), d.Name) })),
	gauge("redis_up",
		"Whether the memory that instances share answers and takes writes (1), or each instance is on its own (0).",
		nil, func(s *health.State, emit emit) {
			if s.Redis != nil {
				emit(value(s.Redis.Up))
			}
		}),
	gauge("history_up",
		"Whether the database of the history answers and takes what is written (1), or it waits on disk (0).",
		nil, ofHistory(func(h *health.History, emit emit) { emit(value(h.Database.Up)) })),
	gauge("history_upkeep_failed",
		"Whether the days of the history could not be added or dropped (1).",
		nil, ofHistory(func(h *health.History, emit emit) { emit(value(h.Database.Upkeep != "")) })),
	gauge("history_queued", "Decisions and verdict changes that are not in the database yet.",
		nil, ofHistory(func(h *health.History, emit emit) { emit(float64(h.Recorder.Waiting)) })),
	gauge("history_spool_bytes", "Bytes on disk that wait for the database.",
		nil, ofHistory(func(h *health.History, emit emit) { emit(float64(h.Recorder.Spool.Bytes)) })),
	gauge("history_oldest_timestamp_seconds",
		"When the oldest entry came that waits for the database, in seconds since 1970; 0 when none waits.",
		nil, ofHistory(func(h *health.History, emit emit) {
			if h.Recorder.Oldest == nil {
				emit(0)
				return
			}
			emit(unix(*h.Recorder.Oldest))
		})),
	counter("history_written_total", "Decisions and verdict changes that the database has taken.",
		nil, ofHistory(func(h *health.History, emit emit) { emit(float64(h.Recorder.Written)) })),
	counter("history_dropped_total", "Decisions and verdict changes that are lost, by reason.",
		[]string{"reason"}, ofHistory(func(h *health.History, emit emit) {
			for reason, n := range h.Recorder.Dropped {
				emit(float64(n), reason)
			}
		})),
	counter("history_folded_total",
		"Requests that the history counts in rows of a network or of everybody, since there were too many clients.",
		nil, ofHistory(func(h *health.History, emit emit) { emit(float64(h.Recorder.Folded)) })),
	gauge("memory_records", "Subjects whose reputation this process remembers.",
		nil, func(s *health.State, emit emit) {
			if s.Memory == nil {
				emit(0)
				return
			}
			emit(float64(s.Memory.Records))
		}),
	gauge("violation_clients", "Clients whose violations this process remembers.",
		nil, ofViolations(func(v *health.Violations, emit emit) { emit(float64(v.Clients)) })),
	gauge("violation_capacity", "Clients whose violations this process remembers at most.",
		nil, ofViolations(func(v *health.Violations, emit emit) { emit(float64(v.Capacity)) })),
	counter("violation_evictions_total", "Clients whose violations were forgotten to make room for others.",
		nil, ofViolations(func(v *health.Violations, emit emit) { emit(float64(v.Evictions)) })),
}

// ofViolations reads what is remembered of violations, if any are counted.
func ofViolations(read func(*health.Violations, emit)) func(*health.State, emit) {
	return func(s *health.State, emit emit) {
		if s.Violations != nil {
			read(s.Violations, emit)
		}
	}
}

// eachDatabase reads the databases of facts.
func eachDatabase(read func(*mmdb.Status, emit)) func(*health.State, emit) {
	return func(s *health.State, emit emit) {
		for i := range s.Databases {
			read(&s.Databases[i], emit)
		}
	}
}

// eachFeed reads the lists but those that stand in the configuration.
func eachFeed(read func(*health.List, emit)) func(*health.State, emit) {
	return func(s *health.State, emit emit) {
		for i := range s.Lists {
			if s.Lists[i].Kind != feed.KindValues {
				read(&s.Lists[i], emit)
			}
		}
	}
}

// ofHistory reads the history, if there is one.
func ofHistory(read func(*health.History, emit)) func(*health.State, emit) {
	return func(s *health.State, emit emit) {
		if s.History != nil {
			read(s.History, emit)
		}
	}
}

func value(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// unix returns a time in seconds since 1970, and 0 for the zero time.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}

// seriesSet gathers series. Of equal ones it takes the first: a registry refuses a scrape that has
// a series twice.
type seriesSet struct {
	seen    map[seriesKey]bool
	metrics []prometheus.Metric
}

type seriesKey struct {
	desc   *prometheus.Desc
	labels [2]string
}

func (set *seriesSet) add(s *health.State) {
	for _, f := range families {
		f.read(s, func(value float64, labels ...string) {
			key := seriesKey{desc: f.desc}
			for i := range labels {
				labels[i] = labelValue(labels[i])
				key.labels[i] = labels[i]
			}
			if !set.seen[key] {
				set.seen[key] = true
				set.metrics = append(set.metrics, prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...))
			}
		})
	}
}
