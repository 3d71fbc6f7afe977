package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// desk takes reports, as AbuseIPDB does.
type desk struct {
	mu      sync.Mutex
	forms   []url.Values
	answers map[string]http.HandlerFunc // by address; the others are stored
}

// take lets the stand-in take reports besides.
func (s *standIn) take(answers map[string]http.HandlerFunc) *desk {
	d := &desk{answers: answers}
	s.behave(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/report" && r.Method == http.MethodPost {
			d.ServeHTTP(w, r)
			return
		}
		s.answer(w, r)
	})
	return d
}

// ServeHTTP implements http.Handler.
func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	d.mu.Lock()
	d.forms = append(d.forms, form)
	d.mu.Unlock()
	switch answer := d.answers[form.Get("ip")]; {
	case r.Header.Get("Key") != keyText:
		refuse(w, r)
	case answer != nil:
		answer(w, r)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(object{"data": object{"ipAddress": form.Get("ip"), "abuseConfidenceScore": 3}})
	}
}

// reported returns the addresses that were reported, in their order.
func (d *desk) reported() (addrs []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, form := range d.forms {
		addrs = append(addrs, form.Get("ip"))
	}
	return addrs
}

func again(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "900")
	w.WriteHeader(http.StatusTooManyRequests)
	_, _ = io.WriteString(w, `{"errors":[{"detail":"You can only report the same IP address once in 15 minutes.",`+
		`"status":429,"source":{"parameter":"ip"}}]}`)
}

// trapped returns a configuration with a trap whose violations are reported. The provider is asked about nobody's
// sake here: it takes reports.
func trapped(t *testing.T, s *standIn) *config {
	t.Helper()
	c := newConfig(t)
	c.ask(s)
	c.app["providers"].([]any)[0].(object)["report"] = true
	c.app["violations"] = []any{object{"name": "trap", "points": 3, "report": true, "ban": 0}} // so that none is refused
	c.handler["violations"] = []any{object{"name": "trap", "path": []any{"/.env", "/.git/*", "/old-shop/*"}}}
	return c
}

// TestReports proves that what a client did is reported once, in the service's form and without personal data, that a
// report which the service has already holds nothing back, and that a spent quota holds back all.
func TestReports(t *testing.T) {
	s := startStandIn(t)
	d := s.take(map[string]http.HandlerFunc{"203.0.113.2": again, "203.0.113.4": throttle})
	r := startCaddy(t, trapped(t, s))
	before := time.Now()
	for i := range 5 {
		client := fmt.Sprintf("203.0.113.%d", i+1)
		r.request(t, client, "/.env?token=secret")
		r.request(t, client, "/old-shop/jane@example.com")
		r.request(t, client, "/index.html")
		eventually(t, "the violations are queued", func() bool {
			return strings.Contains(r.ask(t, http.MethodGet, "reports", "").body, `"address":"`+client+`"`)
		})
	}
	eventually(t, "four are sent", func() bool { return len(d.reported()) == 4 })
	want := []string{"203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4"}
	if diff := cmp.Diff(want, d.reported()); diff != "" {
		t.Errorf("reported (-want +got):\n%s", diff)
	}
	form := d.forms[0]
	at, err := time.Parse(time.RFC3339, form.Get("timestamp"))
	if err != nil || at.Before(before.Add(-time.Second)) || at.After(time.Now()) {
		t.Errorf("the time is %q", form.Get("timestamp"))
	}
	form.Del("timestamp")
	if diff := cmp.Diff(url.Values{
		"ip": {"203.0.113.1"}, "categories": {"21"}, "comment": {"caddy: 2 requests (vulnerability scan), 2 paths, e.g. /.env"},
	}, form); diff != "" {
		t.Errorf("the form (-want +got):\n%s", diff)
	}

	// a second one within 15 minutes is not even queued, after a reload either
	r.reload(t)
	r.request(t, "203.0.113.1", "/.git/config")
	var all struct {
		Waiting, Recent []struct {
			Address, Outcome, Provider string
			Tries                      int
		}
	}
	eventually(t, "the spent quota is known", func() bool {
		if err := json.Unmarshal([]byte(r.ask(t, http.MethodGet, "reports", "").body), &all); err != nil {
			t.Fatal(err)
		}
		return len(all.Waiting) == 2 && all.Waiting[0].Tries == 1
	})
	var outcomes []string
	for _, report := range all.Recent {
		outcomes = append(outcomes, report.Address+" "+report.Outcome)
	}
	if want := []string{"203.0.113.3 sent", "203.0.113.2 duplicate", "203.0.113.1 sent"}; !slices.Equal(outcomes, want) {
		t.Errorf("the outcomes are %v, want %v", outcomes, want)
	}
	if all.Waiting[0].Address != "203.0.113.4" || all.Waiting[1].Address != "203.0.113.5" {
		t.Errorf("there wait %+v", all.Waiting)
	}
	if n := len(d.reported()); n != 4 {
		t.Errorf("%d reports were sent", n)
	}
	metrics := send(t, http.MethodGet, r.admin+"/metrics", "", nil).body
	for _, line := range []string{`result="sent"} 2`, `result="duplicate"} 1`, `result="failed"} 0`} {
		if !strings.Contains(metrics, `caddy_ip_reputation_reports_total{provider="abuseipdb",`+line) {
			t.Errorf("the metrics lack reports_total %s", line)
		}
	}
	// one of those that wait may be tried just now
	eventually(t, "the status has the reports", func() bool {
		return strings.Contains(r.ask(t, http.MethodGet, "status", "").body,
			`"reports":{"waiting":2,"sent":2,"duplicates":1,"failed":0,"quota":[{"window":"900/day"`)
	})
	if s.asked("203.0.113.1") == 0 {
		t.Error("the pause of reports keeps the service from being asked") // or it was never asked
	}
}

// TestReportsAreShownFirst proves that nothing is sent while a site observes, and that operators see what would be.
func TestReportsAreShownFirst(t *testing.T) {
	s := startStandIn(t)
	d := s.take(nil)
	c := trapped(t, s)
	c.handler["mode"] = "observe"
	r := startCaddy(t, c)
	r.request(t, "203.0.113.1", "/.env")
	eventually(t, "it is shown", func() bool {
		return strings.Contains(r.ask(t, http.MethodGet, "reports?dry-run", "").body, "the site only observes")
	})
	if got := d.reported(); len(got) > 0 {
		t.Errorf("%v were reported", got)
	}
}
