package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

var apiRequests = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: namespace, Name: "api_requests_total",
	Help: "Questions to the look-up API by route and by the status of the answer.",
}, []string{"route", "code"})

// apiCodes are the statuses whose series exist from the start, since a rate needs the zero before the first event.
var apiCodes = [...]int{200, 401, 429}

var apiOwners = owners{open: map[string]int{}, drop: func(string) { apiRequests.Reset() }}

// APISeries are the counters of the look-up API. They are safe for concurrent use.
type APISeries struct {
	routes  []string
	ready   [][len(apiCodes)]prometheus.Counter
	release func()
}

// OpenAPI returns the counters for the given words of routes, as OpenProvider does for providers. The caller must Close
// them.
func OpenAPI(routes ...string) *APISeries {
	s := &APISeries{routes: routes, ready: make([][len(apiCodes)]prometheus.Counter, len(routes))}
	s.release = apiOwners.acquire("", func() {
		for i, route := range routes {
			for j, code := range apiCodes {
				s.ready[i][j] = apiRequests.WithLabelValues(route, strconv.Itoa(code))
			}
		}
	})
	return s
}

// Count counts an answer, by the position of its route among those that the counters were opened with, and its status.
func (s *APISeries) Count(route, code int) {
	if route < 0 || route >= len(s.routes) || code < 100 || code > 599 {
		return
	}
	for i := range apiCodes {
		if apiCodes[i] == code {
			s.ready[route][i].Inc()
			return
		}
	}
	apiRequests.WithLabelValues(s.routes[route], strconv.Itoa(code)).Inc()
}

// Close ends the use of the counters, as that of ProviderSeries does.
func (s *APISeries) Close() { s.release() }
