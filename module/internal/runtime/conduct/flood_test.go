package conduct

import (
	"encoding/binary"
	"net/netip"
	goruntime "runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/report"
)

// TestFloodOfViolators holds that many clients, each of whom is to be banned and reported, take a bounded amount of
// memory, goroutines and log.
func TestFloodOfViolators(t *testing.T) {
	c, log := violated(t)
	c.Bans.Burst = 1 // all are banned, as far as there is room
	c.Reports = report.New()
	for i := range c.terms {
		c.terms[i].Report = true
	}
	long, began := strings.Repeat("x", 1000), time.Now()
	flood := func(from, to uint32) {
		for i := from; i < to; i++ {
			var raw [4]byte
			binary.BigEndian.PutUint32(raw[:], 0x64800000+37*i)
			client := netip.AddrFrom4(raw)
			c.SawClient(client)
			for _, name := range []string{"trap", "mistake", "mistake"} {
				c.Violate(t.Context(), Offence{
					Violation: name, Client: client, At: began, Site: long, Method: "GET", RequestID: "abc",
					Path: "/" + strconv.Itoa(int(i)) + "/" + long, OncePerPath: true, Enforce: true, Share: 1,
				})
			}
		}
	}
	heap := func() int64 {
		goruntime.GC()
		var m goruntime.MemStats
		goruntime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	flood(0, 1000)
	before, routines := heap(), goruntime.NumGoroutine()
	const n = 30_000
	flood(1000, n)
	const most = 16 << 20
	grown := heap() - before
	for range 50 { // on a busy machine, clients still wait to be banned
		if grown <= most {
			break
		}
		time.Sleep(punishDelay)
		grown = heap() - before
	}
	more := goruntime.NumGoroutine() - routines
	text := log.Take()
	t.Logf("%d clients: heap +%d kB, %d bans, %d reports wait, %d bytes logged",
		n, grown>>10, c.Overrides.Len(ban.Ban), len(c.Reports.Waiting()), len(text))
	if grown > most || more > 0 || len(text) > 4096 {
		t.Errorf("heap +%d kB, %d more goroutines, logged %s", grown>>10, more, text)
	}
	if kept := c.Store().Status(); kept.Clients < n*9/10 || len(c.Reports.Waiting()) != 1000 {
		t.Errorf("%+v, %d reports wait", kept, len(c.Reports.Waiting()))
	}
}
