package metrics

import "github.com/prometheus/client_golang/prometheus"

var reports = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: namespace, Name: "reports_total",
	Help: "Reports about addresses to a provider, by what became of them.",
}, []string{"provider", "result"})

var reportOwners = owners{open: map[string]int{}, drop: func(name string) {
	reports.DeletePartialMatch(prometheus.Labels{"provider": name})
}}

// ReportSeries are the counters of the reports to one provider. They are safe for concurrent use.
type ReportSeries struct {
	results map[string]prometheus.Counter
	release func()
}

// OpenReports returns the counters of the reports to the provider with the given name, as OpenProvider does for calls.
// The results are the words of all that can become of a report.
func OpenReports(name string, results ...string) *ReportSeries {
	name = labelValue(name)
	s := &ReportSeries{results: make(map[string]prometheus.Counter, len(results))}
	s.release = reportOwners.acquire(name, func() {
		for _, word := range results {
			s.results[word] = reports.WithLabelValues(name, word)
		}
	})
	return s
}

// Count counts a report. Words that were not named when the counters were opened count nowhere.
func (s *ReportSeries) Count(result string) {
	if c, ok := s.results[result]; ok {
		c.Inc()
	}
}

// Close ends the use of the counters, as that of ProviderSeries does.
func (s *ReportSeries) Close() { s.release() }
