package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// standIn answers in the place of AbuseIPDB, in its format.
type standIn struct {
	*httptest.Server

	mu        sync.Mutex
	reports   map[string]report
	calls     map[string]int
	behaviour http.HandlerFunc
	closing   chan struct{}
}

// report is what the stand-in knows of an address.
type report struct{ confidence, reporters int }

// startStandIn starts a stand-in that knows nothing bad of anybody.
func startStandIn(tb testing.TB) *standIn {
	tb.Helper()
	s := &standIn{reports: map[string]report{}, calls: map[string]int{}, closing: make(chan struct{})}
	s.Server = httptest.NewServer(s)
	tb.Cleanup(func() {
		close(s.closing)
		s.Close()
	})
	return s
}

// know sets what the stand-in says of an address: the confidence of abuse in percent, and by how many reporters.
func (s *standIn) know(addr string, confidence, reporters int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports[addr] = report{confidence, reporters}
}

// behave lets the stand-in answer otherwise: hang, garbage, throttle and refuse are ready-made. Nil is the normal way.
func (s *standIn) behave(f http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behaviour = f
}

// hang does not answer until the caller has given up.
func (s *standIn) hang(_ http.ResponseWriter, r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-s.closing:
	}
}

// garbage answers with what no service says.
func garbage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"data":{"abuseConfidenceScore":"\u0000<script>`)
}

// throttle says that the quota is used up for an hour.
func throttle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", "3600")
	fail(w, http.StatusTooManyRequests, "Daily rate limit of 1000 requests exceeded for this endpoint.")
}

// refuse does not accept the key.
func refuse(w http.ResponseWriter, _ *http.Request) {
	fail(w, http.StatusUnauthorized, "Authentication failed. Your API key is either missing, incorrect, or revoked.")
}

func fail(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(object{"errors": []any{object{"detail": detail, "status": status}}})
}

// asked returns how often the stand-in was asked: about the given addresses, or in all.
func (s *standIn) asked(addrs ...string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(addrs) == 0 {
		for _, calls := range s.calls {
			n += calls
		}
	}
	for _, addr := range addrs {
		n += s.calls[addr]
	}
	return n
}

// ServeHTTP implements http.Handler.
func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	addr := r.URL.Query().Get("ipAddress")
	s.mu.Lock()
	s.calls[addr]++
	behaviour := s.behaviour
	s.mu.Unlock()
	if behaviour == nil {
		behaviour = s.answer
	}
	behaviour(w, r)
}

// answer is the normal way.
func (s *standIn) answer(w http.ResponseWriter, r *http.Request) {
	addr := r.URL.Query().Get("ipAddress")
	s.mu.Lock()
	known := s.reports[addr]
	s.mu.Unlock()
	switch {
	case r.Header.Get("Key") != keyText:
		refuse(w, r)
		return
	case r.URL.Path != "/check":
		fail(w, http.StatusNotFound, "no such endpoint")
		return
	}
	var last any
	if known.reporters > 0 {
		last = time.Now().UTC().Add(-time.Hour).Format(time.RFC3339)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object{"data": object{
		"ipAddress": addr, "isPublic": true, "isWhitelisted": nil, "isTor": false,
		"abuseConfidenceScore": known.confidence, "numDistinctUsers": known.reporters, "totalReports": 5 * known.reporters,
		"countryCode": "NL", "usageType": "Data Center/Web Hosting/Transit", "isp": "Example Hosting",
		"domain": "example.net", "hostnames": []any{}, "lastReportedAt": last,
	}})
}
