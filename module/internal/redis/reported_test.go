package redis

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// TestOneInstanceReports proves that of all instances one may report an address, and the others once its time is over.
func TestOneInstanceReports(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	clients := []*Client{connect(t, server.Addr), connect(t, server.Addr), connect(t, server.Addr)}
	subject, other := netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix("2001:db8:1:2::/64")
	may := func(c *Client, service string, subject netip.Prefix) bool {
		t.Helper()
		ok, err := c.MayReport(t.Context(), service, subject, 15*time.Minute)
		if err != nil {
			t.Error(err)
		}
		return ok
	}
	var winners atomic.Int32
	var first atomic.Pointer[Client]
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() {
			if may(c, "abuseipdb", subject) {
				winners.Add(1)
				first.Store(c)
			}
		})
	}
	all.Wait()
	if winners.Load() != 1 {
		t.Fatalf("%d instances may report the address", winners.Load())
	}
	const mark = "iprep:v1:{203.0.113.7/32}:reported:abuseipdb"
	server.CLI("PEXPIRE", mark, "60000")
	for _, c := range clients {
		if got := may(c, "abuseipdb", subject); got != (c == first.Load()) {
			t.Errorf("may one try again, and no other: %t", got)
		}
	}
	if ttl := server.CLI("TTL", mark); ttl != "900" && ttl != "899" {
		t.Errorf("another try begins the time anew, and %s seconds are left", ttl)
	}
	second := clients[0]
	if second == first.Load() {
		second = clients[1]
	}
	if !may(second, "another", subject) || !may(second, "abuseipdb", other) {
		t.Error("another service or another address has a mark of its own")
	}
	server.CLI("DEL", mark) // what its end does
	if !may(second, "abuseipdb", subject) {
		t.Error("nobody may, though the time is over")
	}
	server.CLI("SET", mark, "somebody")
	if !may(second, "abuseipdb", subject) {
		t.Error("a mark without an end holds for ever")
	}
}

func TestMayReportWithoutRedis(t *testing.T) {
	t.Parallel()
	c, err := Open(Options{Addresses: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.MayReport(t.Context(), "a", netip.MustParsePrefix("203.0.113.7/32"), time.Minute); !errors.Is(err, ErrUnavailable) {
		t.Errorf("the error is %v", err)
	}
}
