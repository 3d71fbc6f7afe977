package metrics

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

var (
	providerRequests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "provider_requests_total",
		Help: "Attempts to ask a provider about an address by result; the skipped ones sent nothing.",
	}, []string{"provider", "result"})

	providerSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "provider_request_duration_seconds",
		Help:    "Duration of the requests that were sent to a provider, whatever came of them, once for each address.",
		Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10},
	}, []string{"provider"})

	// without quantiles, so that it is two series only
	providerAddresses = prometheus.NewSummaryVec(prometheus.SummaryOpts{
		Namespace: namespace, Name: "provider_request_addresses",
		Help: "Addresses that a request to a provider asked about; the count is that of the requests.",
	}, []string{"provider"})

	feedRefreshes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "feed_refreshes_total",
		Help: "Attempts to refresh a feed by result.",
	}, []string{"feed", "result"})

	reports = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "reports_total",
		Help: "Reports about addresses to a provider, by what became of them.",
	}, []string{"provider", "result"})
)

var redisRequests = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: namespace, Name: "redis_requests_total",
	Help: "Exchanges with the memory that instances share by result; the skipped ones sent nothing.",
}, []string{"result"})

// owners counts the configurations that use the series of a name, so that the series are removed with the
// last one. During a reload there are two.
type owners struct {
	mu   sync.Mutex
	open map[string]int
	drop func(name string)
}

var (
	providerOwners = owners{open: map[string]int{}, drop: func(name string) {
		providerRequests.DeletePartialMatch(prometheus.Labels{"provider": name})
		providerSeconds.DeleteLabelValues(name)
		providerAddresses.DeleteLabelValues(name)
	}}
	redisOwners = owners{open: map[string]int{}, drop: func(string) { redisRequests.Reset() }}
	feedOwners  = owners{open: map[string]int{}, drop: func(name string) {
		feedRefreshes.DeletePartialMatch(prometheus.Labels{"feed": name})
	}}
	reportOwners = owners{open: map[string]int{}, drop: func(name string) {
		reports.DeletePartialMatch(prometheus.Labels{"provider": name})
	}}
)

// acquire runs resolve while no other owner can drop the name's series, and returns what ends the ownership.
func (o *owners) acquire(name string, resolve func()) (release func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open[name]++
	resolve()
	return sync.OnceFunc(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.open[name]--; o.open[name] == 0 {
			delete(o.open, name)
			o.drop(name)
		}
	})
}

// ProviderSeries are the counters of one provider. They are safe for concurrent use.
type ProviderSeries struct {
	results   [reputation.NumResults]prometheus.Counter
	seconds   prometheus.Observer
	addresses prometheus.Observer
	release   func()
}

// OpenProvider returns the counters of the provider with the given name, at zero if no other configuration counts for
// that name. The caller must Close them.
func OpenProvider(name string) *ProviderSeries {
	name = labelValue(name)
	s := &ProviderSeries{}
	s.release = providerOwners.acquire(name, func() {
		for r := range s.results {
			s.results[r] = providerRequests.WithLabelValues(name, reputation.Result(r).String())
		}
		s.seconds = providerSeconds.WithLabelValues(name)
		s.addresses = providerAddresses.WithLabelValues(name)
	})
	return s
}

// Count counts an attempt to ask the provider. The time it took is recorded unless the attempt was skipped.
func (s *ProviderSeries) Count(result reputation.Result, took time.Duration) {
	if result >= reputation.NumResults {
		return
	}
	s.results[result].Inc()
	if result != reputation.ResultSkippedQuota && result != reputation.ResultSkippedBreaker {
		s.seconds.Observe(took.Seconds())
	}
}

// CountSent counts a request that was sent, and the addresses that it was about.
func (s *ProviderSeries) CountSent(addresses int) { s.addresses.Observe(float64(addresses)) }

// Close ends the use of the counters: the provider's series disappear when no other configuration has them open.
// Attempts that end later may still be counted, without effect. Closing again does nothing.
func (s *ProviderSeries) Close() { s.release() }

// ResultSeries are the counters of one feed, or of the reports to one provider, by result. They are safe for concurrent
// use.
type ResultSeries struct {
	results map[string]prometheus.Counter
	release func()
}

// OpenFeed returns the counters of the feed with the given name, as OpenProvider does for providers. The results are
// the words of all outcomes that an attempt to refresh the feed can have.
func OpenFeed(name string, results ...string) *ResultSeries {
	return openResults(&feedOwners, feedRefreshes, "feed", name, results)
}

// OpenReports returns the counters of the reports to the provider with the given name, as OpenProvider does for calls.
// The results are the words of all that can become of a report.
func OpenReports(name string, results ...string) *ResultSeries {
	return openResults(&reportOwners, reports, "provider", name, results)
}

func openResults(o *owners, vec *prometheus.CounterVec, label, name string, results []string) *ResultSeries {
	name = labelValue(name)
	s := &ResultSeries{}
	s.release = o.acquire(name, func() {
		s.results = readyCounters(vec.MustCurryWith(prometheus.Labels{label: name}), results)
	})
	return s
}

// readyCounters makes the series of the words of a label: a rate needs the zero before the first event.
func readyCounters(vec *prometheus.CounterVec, words []string) map[string]prometheus.Counter {
	counters := make(map[string]prometheus.Counter, len(words))
	for _, word := range words {
		counters[word] = vec.WithLabelValues(word)
	}
	return counters
}

// Count counts one more with a result. Words that were not named when the counters were opened count nowhere.
func (s *ResultSeries) Count(result string) {
	if c, ok := s.results[result]; ok {
		c.Inc()
	}
}

// Close ends the use of the counters, as that of ProviderSeries does.
func (s *ResultSeries) Close() { s.release() }

// RedisSeries are the counters of the memory that instances share. They are safe for concurrent use.
type RedisSeries struct {
	results []prometheus.Counter
	release func()
}

// OpenRedis returns the counters for the given words of results, as OpenProvider does for providers. The
// caller must Close them.
func OpenRedis(results ...string) *RedisSeries {
	s := &RedisSeries{}
	s.release = redisOwners.acquire("", func() {
		for _, word := range results {
			s.results = append(s.results, redisRequests.WithLabelValues(word))
		}
	})
	return s
}

// Count counts an exchange, by the position of its result among those that the counters were opened with.
func (s *RedisSeries) Count(result int) {
	if result >= 0 && result < len(s.results) {
		s.results[result].Inc()
	}
}

// Close ends the use of the counters, as that of ProviderSeries does.
func (s *RedisSeries) Close() { s.release() }

// labelValue makes a configured name fit to be a label's value: the library panics when it is not UTF-8.
func labelValue(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }
