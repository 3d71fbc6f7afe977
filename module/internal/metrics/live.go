package metrics

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Instance is a running configuration, as the gauges see it. Its methods are called at each scrape and when instances
// are attached or detached. They must be quick, safe for concurrent use, and must not call this package.
type Instance interface {
	// Providers returns the state of each provider.
	Providers() []ProviderState
	// Feeds returns the state of each feed.
	Feeds() []FeedState
	// Memory returns how many records this process holds, and how many it has evicted since it began.
	Memory() (records int, evictions uint64)
	// Keys returns the keys of providers that have a known expiry.
	Keys() []KeyState
	// Redis returns whether instances share a Redis, and whether it answers.
	Redis() (shared, up bool)
	// History returns the state of the history, or nil without one.
	History() *HistoryState
	// Panicked is called with the panic of another method, by the function that recovered.
	Panicked(with any)
}

// ProviderState is one provider at one moment.
type ProviderState struct {
	Name    string
	Up      bool // false: it failed so often that it is not called
	Windows []WindowState
}

// KeyState is one key of a provider.
type KeyState struct {
	Provider string
	Key      string // its fingerprint
	Expires  time.Time
}

// WindowState is one quota of a provider, such as 1000 requests a day.
type WindowState struct {
	Name      string // such as "day"
	Limit     int    // requests
	Remaining int    // requests
}

// FeedState is one feed at one moment.
type FeedState struct {
	Name        string
	Entries     int       // prefixes in use
	LastSuccess time.Time // of a refresh; zero: never, which shows as 0

	// Patience is how long it may go without a success until it is stale. It is zero, and not shown, for lists that are not fetched.
	Patience time.Duration
}

// HistoryState is the history at one moment. Its entries are decisions about requests, and changes of verdicts.
type HistoryState struct {
	Up      bool             // the database answers
	Queued  int64            // entries that are not in the database yet
	Written int64            // entries, since the process began to record
	Dropped map[string]int64 // entries by reason, likewise
	Spool   int64            // bytes on disk
	Oldest  time.Time        // since when the oldest entry waits; zero: none does
}

var (
	providerUp = prometheus.NewDesc(namespace+"_provider_up",
		"Whether the provider is being asked (1), or left alone after repeated failures (0).", []string{"provider"}, nil)
	providerQuota = prometheus.NewDesc(namespace+"_provider_quota_remaining",
		"Requests left in the current window of a provider's quota.", []string{"provider", "window"}, nil)
	providerLimit = prometheus.NewDesc(namespace+"_provider_quota_limit",
		"Requests that a provider's quota includes in a window.", []string{"provider", "window"}, nil)
	keyExpiry = prometheus.NewDesc(namespace+"_key_expiry_timestamp_seconds",
		"When a key of a provider ends, in seconds since 1970, for keys of which that is known.", []string{"provider", "key"}, nil)
	feedEntries = prometheus.NewDesc(namespace+"_feed_entries",
		"Prefixes of a feed that are in use.", []string{"feed"}, nil)
	feedPatience = prometheus.NewDesc(namespace+"_feed_patience_seconds",
		"How long a feed that is fetched may be without a success until it is stale.", []string{"feed"}, nil)
	feedSuccess = prometheus.NewDesc(namespace+"_feed_last_success_timestamp_seconds",
		"When the feed was last refreshed with success, in seconds since 1970; 0 means never.", []string{"feed"}, nil)
	redisUp = prometheus.NewDesc(namespace+"_redis_up",
		"Whether the memory that instances share answers and takes writes (1), or each instance is on its own (0).", nil, nil)
	historyUp = prometheus.NewDesc(namespace+"_history_up",
		"Whether the database of the history answers and takes what is written (1), or it waits on disk (0).", nil, nil)
	historyQueued = prometheus.NewDesc(namespace+"_history_queued",
		"Decisions and verdict changes that are not in the database yet.", nil, nil)
	historySpool = prometheus.NewDesc(namespace+"_history_spool_bytes",
		"Bytes on disk that wait for the database.", nil, nil)
	historyOldest = prometheus.NewDesc(namespace+"_history_oldest_timestamp_seconds",
		"When the oldest entry came that waits for the database, in seconds since 1970; 0 when none waits.", nil, nil)
	historyWritten = prometheus.NewDesc(namespace+"_history_written_total",
		"Decisions and verdict changes that the database has taken.", nil, nil)
	historyDropped = prometheus.NewDesc(namespace+"_history_dropped_total",
		"Decisions and verdict changes that are lost, by reason.", []string{"reason"}, nil)
	memoryRecords = prometheus.NewDesc(namespace+"_memory_records",
		"Subjects whose reputation this process remembers.", nil, nil)
	memoryEvictions = prometheus.NewDesc(namespace+"_memory_evictions_total",
		"Subjects that were forgotten to make room for others.", nil, nil)
)

// live is the set of instances that are attached.
var live instances

type instances struct {
	mu        sync.Mutex
	attached  []*attachment // the oldest first
	evictions uint64        // counted so far, over all instances
}

// attachment is an instance, and how many of its evictions are counted already or belong to another instance.
type attachment struct {
	Instance
	counted uint64
}

// Attach shows an instance in the gauges until detach is called. While two are attached, as during a reload, the newest
// one wins for series that both have. After detach has returned, the instance is not called any more; calling detach
// again does nothing.
func Attach(i Instance) (detach func()) {
	a := &attachment{Instance: i}
	live.attach(a)
	return sync.OnceFunc(func() { live.detach(a) })
}

func (s *instances) attach(a *attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replace(append(s.attached, a))
}

func (s *instances) detach(a *attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replace(slices.DeleteFunc(slices.Clone(s.attached), func(other *attachment) bool { return other == a }))
}

// replace changes the set. If another instance is the newest now, its evictions count from the present value of its memory:
// instances may share a memory that outlives reloads, whose evictions are counted already, or have their own, which begins
// at zero.
func (s *instances) replace(attached []*attachment) {
	before := newest(s.attached)
	s.attached = attached
	after := newest(attached)
	if before == after {
		return
	}
	if before != nil {
		s.countEvictions(before, before.state().evictions)
	}
	if after != nil {
		after.counted = after.state().evictions
	}
}

func newest(attached []*attachment) *attachment {
	if len(attached) == 0 {
		return nil
	}
	return attached[len(attached)-1]
}

// countEvictions adds those since the last time. The sum never falls.
func (s *instances) countEvictions(a *attachment, evictions uint64) {
	if evictions > a.counted {
		s.evictions += evictions - a.counted
	}
	a.counted = evictions
}

// Describe implements prometheus.Collector.
func (s *instances) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{providerUp, providerQuota, providerLimit, keyExpiry, feedEntries, feedPatience, feedSuccess, redisUp,
		historyUp, historyQueued, historySpool, historyOldest, historyWritten, historyDropped, memoryRecords, memoryEvictions} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *instances) Collect(ch chan<- prometheus.Metric) {
	for _, m := range s.metrics() {
		ch <- m
	}
}

func (s *instances) metrics() []prometheus.Metric {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := gaugeSet{seen: map[gaugeKey]bool{}}
	for _, a := range slices.Backward(s.attached) {
		now := a.state()
		if a == newest(s.attached) {
			s.countEvictions(a, now.evictions)
		}
		set.add(now)
	}
	return append(set.metrics, prometheus.MustNewConstMetric(memoryEvictions, prometheus.CounterValue, float64(s.evictions)))
}

// state is the state of an instance at one moment.
type state struct {
	providers []ProviderState
	feeds     []FeedState
	keys      []KeyState
	records   int
	evictions uint64
	shared    bool // there is a Redis
	redisUp   bool
	history   *HistoryState
}

// state reads the instance. It survives a panic, which would otherwise end the whole process.
func (a *attachment) state() (st state) {
	defer func() {
		if r := recover(); r != nil {
			a.Panicked(r)
		}
	}()
	st.evictions = a.counted
	st.records, st.evictions = a.Memory()
	st.providers = a.Providers()
	st.feeds = a.Feeds()
	st.keys = a.Keys()
	st.shared, st.redisUp = a.Redis()
	st.history = a.History()
	return st
}

// gaugeSet gathers gauges. The first value of each series stays: a registry refuses a scrape with a series twice.
type gaugeSet struct {
	seen    map[gaugeKey]bool
	metrics []prometheus.Metric
}

type gaugeKey struct {
	desc   *prometheus.Desc
	labels [2]string
}

func (g *gaugeSet) add(st state) {
	for _, p := range st.providers {
		g.gauge(providerUp, value(p.Up), p.Name)
		for _, w := range p.Windows {
			g.gauge(providerQuota, float64(w.Remaining), p.Name, w.Name)
			g.gauge(providerLimit, float64(w.Limit), p.Name, w.Name)
		}
	}
	for _, k := range st.keys {
		g.gauge(keyExpiry, float64(k.Expires.Unix()), k.Provider, k.Key)
	}
	for _, f := range st.feeds {
		g.gauge(feedEntries, float64(f.Entries), f.Name)
		success := 0.0
		if !f.LastSuccess.IsZero() {
			success = float64(f.LastSuccess.Unix())
		}
		g.gauge(feedSuccess, success, f.Name)
		if f.Patience > 0 {
			g.gauge(feedPatience, f.Patience.Seconds(), f.Name)
		}
	}
	if st.shared {
		g.gauge(redisUp, value(st.redisUp))
	}
	if h := st.history; h != nil {
		g.gauge(historyUp, value(h.Up))
		g.gauge(historyQueued, float64(h.Queued))
		g.gauge(historySpool, float64(h.Spool))
		oldest := 0.0
		if !h.Oldest.IsZero() {
			oldest = float64(h.Oldest.Unix())
		}
		g.gauge(historyOldest, oldest)
		g.count(historyWritten, float64(h.Written))
		for reason, n := range h.Dropped {
			g.count(historyDropped, float64(n), reason)
		}
	}
	g.gauge(memoryRecords, float64(st.records))
}

func value(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func (g *gaugeSet) gauge(desc *prometheus.Desc, value float64, labels ...string) {
	g.metric(desc, prometheus.GaugeValue, value, labels)
}

// count adds a counter, which begins anew with what it is read from: a rate sees that as it sees a restart.
func (g *gaugeSet) count(desc *prometheus.Desc, value float64, labels ...string) {
	g.metric(desc, prometheus.CounterValue, value, labels)
}

func (g *gaugeSet) metric(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels []string) {
	key := gaugeKey{desc: desc}
	for i := range labels {
		labels[i] = labelValue(labels[i])
		key.labels[i] = labels[i]
	}
	if g.seen[key] {
		return
	}
	g.seen[key] = true
	g.metrics = append(g.metrics, prometheus.MustNewConstMetric(desc, kind, value, labels...))
}
