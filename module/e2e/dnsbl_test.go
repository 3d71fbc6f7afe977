package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// TestDNSLists proves that a DNS list counts once its test has passed. One that lists the whole world counts for nobody, and
// status says so.
func TestDNSLists(t *testing.T) {
	addr := testenv.Rbldnsd(t, testenv.DNSZone{
		Name: "bl.example.org", Kind: "ip4set", Data: ":127.0.0.2:listed $\n127.0.0.2\n203.0.113.10\n",
	})
	liar := testenv.ServeDNS(t)
	liar.Hijack = "127.0.0.2"
	list := func(zone, resolver string) object {
		return object{
			"service": object{
				"service": "dnsbl", "list": zone, "resolvers": []any{resolver}, "category": []any{"bruteforce"}, "weight": 26,
			},
			"trust": 1,
		}
	}
	c := newConfig(t)
	c.app["providers"] = []any{list("bl.example.org", addr), list("liar.example.org", liar.Addr)}
	c.handler["rules"] = []any{object{"action": "block", "score": "20", "category": []any{"bruteforce"}}}
	r := startCaddy(t, c)

	eventually(t, "the listed client is refused", func() bool { return r.visit(t, "203.0.113.10").status == 403 })
	eventually(t, "the liar is set aside", func() bool { return r.metric(t, `provider_up{provider="liar_example_org"}`) == 0 })
	if got := r.visit(t, "203.0.113.99").status; got != 200 {
		t.Errorf("another client gets %d", got)
	}
	if got := r.metric(t, `provider_up{provider="bl_example_org"}`); got != 1 {
		t.Errorf("provider_up of the list that works is %v", got)
	}
	got := r.check(t, "203.0.113.10?fresh")
	var sources []string
	for _, reason := range got.Reasons {
		sources = append(sources, reason.Source)
	}
	if diff := cmp.Diff([]string{"bl_example_org"}, sources); diff != "" || *got.Coverage != 1 {
		t.Errorf("of a client that is refused whatever the liar says: coverage %v, sources (-want +got):\n%s", *got.Coverage, diff)
	}
	if got := r.check(t, "203.0.113.99?fresh"); *got.Coverage != .5 {
		t.Errorf("another client: coverage %v", *got.Coverage)
	}
	status := r.ask(t, http.MethodGet, "status", "").body
	if !strings.Contains(status, "provider_set_aside") || !strings.Contains(status, "it lists the whole world") {
		t.Errorf("the status does not say why the liar is not asked: %s", status)
	}
	if !strings.Contains(r.logs(t), "the service fails its test, and is not asked until it passes") {
		t.Errorf("the log does not say that the liar is set aside")
	}
}
