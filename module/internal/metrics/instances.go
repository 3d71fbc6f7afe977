package metrics

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
)

// Instance is a running configuration, as the gauges see it. Instances are compared with ==. The
// methods are called at each scrape and by Show. They must be quick and safe for concurrent use,
// and must not call this package.
type Instance interface {
	// State returns the state at this moment.
	State() health.State
	// Panicked is called with the panic of State, by the function that recovered.
	Panicked(with any)
}

var memoryEvictions = prometheus.NewDesc(namespace+"_memory_evictions_total",
	"Subjects that were forgotten to make room for others.", nil, nil)

// shown are the instances of the last Show.
var shown instances

type instances struct {
	mu        sync.Mutex
	list      []Instance // the newest last
	evictions uint64     // counted so far, over all instances

	// counted are the evictions of the newest instance that are counted already, or belong to
	// another. It is not known while the instance could not be read.
	counted      uint64
	countedKnown bool
}

// Show replaces the instances that the gauges show. The last one is the newest: it wins for series
// that several have, as during a reload. After Show has returned, instances that are not among them
// are not called any more.
func Show(list ...Instance) { shown.show(slices.Clone(list)) }

// show replaces the list. If another instance is the newest now, its evictions count from the
// present value of its memory: instances may share a memory that outlives reloads, whose evictions
// are counted already, or have their own, which begins at zero.
func (s *instances) show(list []Instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, after := newest(s.list), newest(list)
	s.list = list
	if before == after {
		return
	}
	if before != nil {
		s.countEvictions(read(before))
	}
	s.counted, s.countedKnown = 0, false
	if after != nil {
		s.countEvictions(read(after))
	}
}

func newest(list []Instance) Instance {
	if len(list) == 0 {
		return nil
	}
	return list[len(list)-1]
}

// countEvictions adds the evictions since the last time. The sum never falls.
func (s *instances) countEvictions(now health.State, ok bool) {
	if !ok {
		return
	}
	var evictions uint64
	if now.Memory != nil {
		evictions = now.Memory.Evictions
	}
	if s.countedKnown && evictions > s.counted {
		s.evictions += evictions - s.counted
	}
	s.counted, s.countedKnown = evictions, true
}

// read reads an instance. It survives a panic, which would otherwise end the whole process.
func read(i Instance) (s health.State, ok bool) {
	defer func() {
		if r := recover(); r != nil {
			i.Panicked(r)
			s, ok = health.State{}, false
		}
	}()
	return i.State(), true
}

// Describe implements prometheus.Collector.
func (s *instances) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range families {
		ch <- f.desc
	}
	ch <- memoryEvictions
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
	set := seriesSet{seen: map[seriesKey]bool{}}
	for i, instance := range slices.Backward(s.list) {
		now, ok := read(instance)
		if i == len(s.list)-1 {
			s.countEvictions(now, ok)
		}
		set.add(&now)
	}
	return append(set.metrics,
		prometheus.MustNewConstMetric(memoryEvictions, prometheus.CounterValue, float64(s.evictions)))
}
