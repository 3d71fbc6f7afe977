package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// twoServices is a site that blocks from a score of 80 on, with a cheap service and a dear one of the same group, which is
// trusted half.
func twoServices(t *testing.T) (c *config, cheap, dear *standIn) {
	t.Helper()
	cheap, dear = startStandIn(t), startStandIn(t)
	c = newConfig(t)
	c.handler["rules"] = []any{rule("block", object{"score": "80"})}
	c.ask(cheap)
	service := c.app["providers"].([]any)[0].(object)
	service["quota"] = []any{"1000000/day"}
	c.app["providers"] = []any{service, object{
		"service": object{"service": "abuseipdb", "url": dear.URL}, "name": "dear", "trust": .5, "quota": []any{"3000/month"},
		"burst": 1, "keys": []any{object{"value": "{env." + keyName + "}"}},
	}}
	return c, cheap, dear
}

// TestDearServices proves that a dear service is asked only about clients whose treatment it could change, and that nobody
// misses its answer otherwise.
func TestDearServices(t *testing.T) {
	c, cheap, dear := twoServices(t)
	c.handler["ask"] = "rules"
	c.next = []any{object{"handler": "static_response", "body": "{http.ip_reputation.status} {http.ip_reputation.coverage}"}}
	cheap.know("203.0.113.2", 100, 60) // 28.8 points: the dear one cannot change that
	cheap.know("203.0.113.3", 80, 60)  // 23.0 points: with the dear one, it may be enough
	r := startCaddy(t, c)

	for _, tc := range []struct {
		client string
		status int
		body   string
		asked  int
	}{
		{"203.0.113.1", http.StatusOK, "fresh 1.00", 0},
		{"203.0.113.2", http.StatusForbidden, "", 0},
		{"203.0.113.3", http.StatusOK, "fresh 1.00", 1},
	} {
		for range 2 {
			if got := r.visit(t, tc.client); got.status != tc.status || tc.body != "" && got.body != tc.body {
				t.Errorf("%s is answered with %d %q", tc.client, got.status, got.body)
			}
		}
		if cheap.asked(tc.client) != 1 || dear.asked(tc.client) != tc.asked {
			t.Errorf("%s: the cheap one was asked %d times, the dear one %d times", tc.client, cheap.asked(tc.client), dear.asked(tc.client))
		}
	}
	if n := r.metric(t, `provider_requests_total{provider="dear",result="skipped_settled"}`); n != 2 {
		t.Errorf("%v calls are counted as needless, want 2", n)
	}
	x := r.check(t, "203.0.113.1")
	if x.Status != "fresh" || !slices.ContainsFunc(x.Next, func(text string) bool {
		return strings.HasPrefix(text, "dear is not asked now: its answer could change nothing")
	}) {
		t.Errorf("explained as %s, %q", x.Status, x.Next)
	}

	// a mild site becomes a strict one, which needs to know
	c.handler["rules"] = []any{rule("block", object{"score": "10"})}
	r.reload(t)
	if got := r.visit(t, "203.0.113.1"); got.status != http.StatusOK || dear.asked("203.0.113.1") != 1 {
		t.Errorf("%d, and the dear one was asked %d times", got.status, dear.asked("203.0.113.1"))
	}
}

// TestApplicationsReadTheScore proves that, by default, a service is asked about everybody who passes, and about nobody who
// is refused in any case.
func TestApplicationsReadTheScore(t *testing.T) {
	c, cheap, dear := twoServices(t)
	cheap.know("203.0.113.2", 100, 60)
	r := startCaddy(t, c)
	for client, want := range map[string]int{"203.0.113.1": 1, "203.0.113.2": 0} {
		r.visit(t, client)
		if n := dear.asked(client); n != want {
			t.Errorf("the dear one was asked %d times about %s", n, client)
		}
	}
}

// TestMatchersNeedToKnow proves that what a matcher could decide is open for a site, too.
func TestMatchersNeedToKnow(t *testing.T) {
	c, _, dear := twoServices(t)
	c.handler["ask"] = "rules"
	c.next = []any{object{"handler": "subroute", "routes": []any{object{
		"match":  []any{object{"ip_reputation": object{"score": "10-79"}}},
		"handle": []any{object{"handler": "static_response", "body": "doubtful"}},
	}}}}
	dear.know("203.0.113.1", 100, 60)
	r := startCaddy(t, c)
	if got := r.visit(t, "203.0.113.1"); got.body != "doubtful" || dear.asked() != 1 {
		t.Errorf("%q, and the dear one was asked %d times", got.body, dear.asked())
	}
}

// TestTwoHandlersOnTheWay proves that a handler with rules of its own does not take the word of an outer one, which need
// not know as much.
func TestTwoHandlersOnTheWay(t *testing.T) {
	c, _, dear := twoServices(t)
	c.handler["ask"] = "rules"
	c.next = []any{object{"handler": "ip_reputation", "mode": "enforce", "ask": "rules", "rules": []any{rule("block", object{"score": "10"})}}}
	dear.know("203.0.113.1", 100, 60)
	r := startCaddy(t, c)
	eventually(t, "the inner handler blocks", func() bool { return r.visit(t, "203.0.113.1").status == http.StatusForbidden })
	if n := dear.asked(); n != 1 {
		t.Errorf("the dear one was asked %d times", n)
	}
}
