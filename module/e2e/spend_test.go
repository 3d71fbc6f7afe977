package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// young returns the period of which the greatest part is still to come: towards the end of a window nothing is kept.
func young(now time.Time) string {
	now = now.UTC()
	day := float64(now.Hour()*60+now.Minute()) / (24 * 60)
	periods, best := map[string]float64{
		"hour": float64(now.Minute()) / 60, "day": day, "week": (float64((now.Weekday()+6)%7) + day) / 7,
		"month": float64(now.Day()) / 31,
	}, "hour"
	for period, past := range periods {
		if past < periods[best] {
			best = period
		}
	}
	return best
}

// TestABudgetIsSpentWhereItMatters proves that, while a quota is short, a service is asked about who matters: not about a
// crowd of clients that come once, but about one who logs in or comes from a list; that whoever comes again is not
// forgotten; and that operators see the price, and why nobody is asked.
func TestABudgetIsSpentWhereItMatters(t *testing.T) {
	s := startStandIn(t)
	c := budget(t, s, "60/"+young(time.Now()))
	p := c.app["providers"].([]any)[0].(object)
	p["burst"] = .5
	c.app["feeds"] = []any{object{"sources": []any{"203.0.113.0/24"}, "name": "suspects", "trust": .4}}
	c.app["wait"] = "10s" // longer than it takes
	c.handler["priority"] = []any{object{"path": []any{"/login"}}}
	r := startCaddy(t, c)
	asked := 0
	for ; asked < 60 && r.visit(t, fmt.Sprintf("198.51.%d.1", asked)).body == "fresh"; asked++ {
	}
	price := r.metric(t, `provider_price{provider="abuseipdb"}`)
	if asked == 60 || price <= .1 || price > .4 {
		t.Fatalf("after %d of a crowd, the price is %v", asked, price)
	}
	late := fmt.Sprintf("198.51.%d.1", asked)
	check := r.check(t, late)
	text := strings.Join(check.Next, "\n")
	a := check.Providers[0]
	want := fmt.Sprintf("abuseipdb is not asked now: budget (worth %.2f, price %.2f)", a.Worth, price)
	known := a.Worth == .1 || a.Worth == .15 // the next request is of the same visit for three seconds
	if price > .15 && (!strings.Contains(text, want) || !known || a.Price < .1) {
		t.Errorf("it is explained with %q, want %q", text, want)
	}
	sources := into[[]struct {
		Price float64
		Quota []struct{ Limit, Used int }
	}](t, r.ask(t, http.MethodGet, "sources", ""))
	if sources[0].Price < .1 || sources[0].Quota[0].Used != asked {
		t.Errorf("sources show a price of %v, %+v", sources[0].Price, sources[0].Quota)
	}
	if got := r.request(t, "198.51.100.1", "/login"); got.body != "fresh" {
		t.Errorf("who logs in is %s", got.body)
	}
	if got := r.visit(t, "203.0.113.7"); got.body != "fresh" {
		t.Errorf("who comes from a list is %s", got.body)
	}
	if got := r.visit(t, "198.51.101.1"); got.body != "partial" && got.body != "unknown" {
		t.Errorf("the next of the crowd is %s", got.body)
	}
	if got := r.ask(t, http.MethodGet, "check/"+late+"?fresh", ""); s.asked(late) != 1 {
		t.Errorf("an operator is kept waiting: %s", got.body)
	}

	c.app["spend"] = "first_come"
	r.reload(t)
	if got := r.visit(t, "198.51.101.1"); got.body != "fresh" {
		t.Errorf("with first_come, the next of the crowd is %s", got.body)
	}
	if price := r.metric(t, `provider_price{provider="abuseipdb"}`); price != 0 {
		t.Errorf("with first_come, the price is %v", price)
	}
}
