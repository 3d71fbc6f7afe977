package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// TestIncidentsInTheHistory proves that a trap that was touched, and the ban that it led to, are in the history of the
// address, in the metrics and in status.
func TestIncidentsInTheHistory(t *testing.T) {
	c := newConfig(t)
	c.handler["violations"] = []any{object{"name": "trap", "path": []any{"/trap"}}}
	c.remember(t, testenv.PostgreSQL(t).DSN, nil)
	r := startCaddy(t, c)
	r.awaitHistory(t, 1)
	bans := r.metric(t, `bans_total{by="violation"}`) // of tests before this one, too
	id := send(t, http.MethodGet, r.site+"/trap", "", http.Header{"X-Forwarded-For": {cleanClient}}).header.Get("X-Request-Id")
	eventually(t, "the client is banned", func() bool { return r.metric(t, `bans_total{by="violation"}`) == bans+1 })
	r.recorded(t)

	var got []string
	for _, e := range into[history.Timeline](t, r.ask(t, http.MethodGet, "history/"+cleanClient+"?parts=0", "")).Entries {
		if i := e.Incident; i != nil {
			got = append(got, fmt.Sprint(i.Kind, " ", i.Name, " ", i.Count, " ", i.Points, " ", i.Seconds, " ", i.RequestID == id))
		}
	}
	slices.Sort(got)
	if want := []string{"ban violation trap 1 0 86400 true", "violation trap 1 60 0 true"}; !slices.Equal(got, want) {
		t.Errorf("the history has %q, want %q", got, want)
	}
	for series, want := range map[string]float64{
		`violations_total{violation="trap"}`: 1, `violations_total{violation="spam"}`: 0,
		`violation_clients`: 1,
	} {
		if got := r.metric(t, series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	status := into[struct {
		BansBy     map[string]int `json:"bans_by"`
		Violations struct {
			Clients  int            `json:"clients"`
			LastHour map[string]int `json:"last_hour"`
		} `json:"violations"`
	}](t, r.ask(t, http.MethodGet, "status", ""))
	if status.BansBy["violation"] != 1 || status.Violations.Clients != 1 || status.Violations.LastHour["trap"] != 1 {
		t.Errorf("status has %+v", status)
	}
}
