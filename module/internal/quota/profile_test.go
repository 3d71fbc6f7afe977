package quota

import (
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// FuzzProfile: a quota and a rate of a profile are valid if, and only if, the engine can read them. The public package, which
// knows the standard library only, has a grammar of its own.
func FuzzProfile(f *testing.F) {
	for _, s := range []string{
		"1000/day", "4/minute", "0/day", "1000000001/day", "1/fortnight", "/day", "1/", "1000", " 1/day", "+1/day", "1e3/day",
		"5/s", "1/2s", "45/1m", "1/24h", "1/25h", "1/0s", "1/-1s", "1000001/s", "1/1h30m", "1/ns", "/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := reputation.Profile{Name: "a", Quota: []string{s}}
		if _, err := ledger.ParseWindow(s); (err == nil) != (p.Validate() == nil) {
			t.Errorf("quota %q: the engine says %v, the profile %v", s, err, p.Validate())
		}
		p = reputation.Profile{Name: "a", Rate: s}
		if _, err := rate.Parse(s); s != "" && (err == nil) != (p.Validate() == nil) {
			t.Errorf("rate %q: the engine says %v, the profile %v", s, err, p.Validate())
		}
	})
}
