package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// scoreBuckets are upper bounds. The usual thresholds of rules, such as 50 and 85, begin a bucket: a score of
// 85 is above 84.
var scoreBuckets = []int{0, 4, 9, 19, 29, 39, 49, 59, 69, 79, 84, 89, 94, 100}

var scoreDesc = prometheus.NewDesc(namespace+"_score",
	"Scores of requests, 0 to 100; those that are not scored are not among them.", nil, nil)

// scores counts requests by score. Unlike a histogram of the library, it costs one addition per request: the
// buckets are computed at each scrape.
var scores scoreCounters

type scoreCounters [101]atomic.Uint64

// CountScore counts the score of a request, 0 to 100.
func CountScore(score uint8) {
	if int(score) < len(scores) {
		scores[score].Add(1)
	}
}

// Describe implements prometheus.Collector.
func (s *scoreCounters) Describe(ch chan<- *prometheus.Desc) { ch <- scoreDesc }

// Collect implements prometheus.Collector.
func (s *scoreCounters) Collect(ch chan<- prometheus.Metric) {
	buckets := make(map[float64]uint64, len(scoreBuckets))
	var count, sum uint64
	score := 0
	for _, bound := range scoreBuckets {
		for ; score <= bound; score++ {
			n := s[score].Load()
			count += n
			sum += n * uint64(score)
		}
		buckets[float64(bound)] = count
	}
	ch <- prometheus.MustNewConstHistogram(scoreDesc, count, float64(sum), buckets)
}
