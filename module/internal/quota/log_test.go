package quota

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/foreign"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestRedact(t *testing.T) {
	tests := map[string]struct {
		text, key string
		addr      netip.Addr
		want      string
	}{
		"nothing to hide":  {"connection refused", "k3y", addr4, "connection refused"},
		"key":              {"bad key k3y/+", "k3y/+", addr4, "bad key [key]"},
		"key in a query":   {"?key=k3y%2F%2B", "k3y/+", addr4, "?key=[key]"},
		"no key":           {"abc", "", addr4, "abc"},
		"IPv4":             {`Get "/check?ip=192.0.2.17"`, "", addr4, `Get "/check?ip=[address]"`},
		"IPv4 in DNS":      {"lookup 17.2.0.192.dnsbl.example: no such host", "", addr4, "lookup [address].dnsbl.example: no such host"},
		"IPv6":             {"no 2001:db8:1:2::/64", "", addr6, "no [address]/64"},
		"IPv6 in full":     {"no 2001:0db8:0001:0002:0000:0000:0000:0000", "", addr6, "no [address]"},
		"IPv6 in a query":  {"ip=2001%3Adb8%3A1%3A2%3A%3A", "", addr6, "ip=[address]"},
		"IPv6 in DNS":      {"lookup " + strings.Repeat("0.", 16) + "2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.example", "", addr6, "lookup [address].bl.example"},
		"foreign text":     {"it says \x1b[2J\r\nERROR all is well", "", addr4, "it says [2J ERROR all is well"},
		"long":             {strings.Repeat("é", foreign.MaxError), "", addr4, strings.Repeat("é", foreign.MaxError/2) + "…"},
		"no valid address": {"some text", "", netip.Addr{}, "some text"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := redact(tt.text, reputation.Query{Addr: tt.addr, Key: tt.key}); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestEachCauseIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said logtest.Log
		s := new(service)
		k := New("a", s, Terms{}, NewBudget(), memory(), Options{Logger: said.Logger()})
		for i := range 90 { // A minute and a half, never long enough in a row to open the breaker.
			s.answers([]error{errDown, reputation.ErrBadAnswer, nil, nil, nil}[i%5])
			ask(k)
			time.Sleep(time.Second)
		}
		for _, result := range []string{"result=error", "result=bad_answer"} {
			if n := strings.Count(said.String(), result); n != 2 {
				t.Errorf("%s logged %d times in 90 s, want twice:\n%s", result, n, said.String())
			}
		}
		if strings.Contains(said.String(), addr4.String()) {
			t.Errorf("the log has the address:\n%s", said.String())
		}
	})
}
