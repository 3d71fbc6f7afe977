package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestWhatASiteSawCounts proves that what a client does is evidence at once, also after a reload and a restart; that its
// neighbours have a few points; and that check shows both.
func TestWhatASiteSawCounts(t *testing.T) {
	c := newConfig(t)
	c.handler["violations"] = []any{object{"name": "trap", "path": []any{"/.env"}}}
	c.handler["rules"] = []any{
		rule("block", object{"source": []any{"own.trap"}}), rule("block", object{"source": []any{"neighbourhood"}, "status_code": 451}),
	}
	// nobody may be banned here: a ban is another reason
	c.app["violations"] = []any{object{"name": "trap", "ban": 0}}
	r := startCaddy(t, c)
	if log := r.logs(t); strings.Contains(log, "can never hold") || strings.Contains(log, "no list and no provider") {
		t.Errorf("what sites see is taken for nothing:\n%s", log)
	}
	const neighbour, other = "203.0.113.200", "198.51.100.5"
	for i := range 3 {
		if got := r.visit(t, neighbour).status; got != http.StatusOK {
			t.Errorf("%d offenders: the neighbour is answered with status %d", i, got)
		}
		if got := r.request(t, fmt.Sprintf("203.0.113.%d", 1+i), "/.env").status; got != http.StatusForbidden {
			t.Errorf("the request that touched the trap is answered with status %d", got)
		}
	}
	answers := func(when string) {
		t.Helper()
		for client, want := range map[string]int{"203.0.113.1": 403, "203.0.113.3": 403, neighbour: 451, other: 200} {
			if got := r.visit(t, client).status; got != want {
				t.Errorf("%s, %s is answered with status %d, want %d", when, client, got, want)
			}
		}
	}
	answers("at once")
	r.reload(t)
	answers("after a reload")
	for client, says := range map[string][]string{
		"203.0.113.1": {
			"+60.000 own.trap: scanner", "violations trap: 1 time, 60 points, last", "neighbours 2 other offenders of 203.0.113.0/24 within a day",
		},
		neighbour: {"+3.750 neighbourhood", "neighbours 3 other offenders of 203.0.113.0/24 within a day"},
	} {
		page := strings.Join(strings.Fields(r.run(t, "check", client)), " ")
		for _, want := range says {
			if !strings.Contains(page, want) {
				t.Errorf("check of %s lacks %q:\n%s", client, want, page)
			}
		}
	}
	r.stop(t)
	r.reload(t)
	answers("after a restart")
}
