package spend

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/handler"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

const (
	loginPath = "/login"
	day       = 24 * time.Hour
)

// generator makes a day of a site. The same seed makes the same day.
type generator struct {
	*rand.Rand
	trace *trace
	start time.Time
	used  map[netip.Addr]bool
	traps []string // paths of `violations default`, without patterns
	pages []string // that products have
	files bool     // browsers load what a page shows
}

// generate makes a day on which so many subjects come: a crowd, of which most come once, and one in fourteen who abuses
// the site. The numbers of its parts are assumptions; docs/performance.md has them.
func generate(subjects int, seed uint64, files bool) *trace {
	g := &generator{
		files: files,
		Rand:  rand.New(rand.NewPCG(seed, 16)), start: time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC),
		used: map[netip.Addr]bool{},
		trace: &trace{
			name: "a generated day", listed: map[record.Key]bool{},
			logins: []string{loginPath}, failed: []string{"401"}, priority: true,
		},
	}
	for _, v := range handler.DefaultViolations() {
		for _, path := range v.Path {
			switch {
			case !plain(path):
			case v.Name == "trap":
				g.traps = append(g.traps, path)
			default:
				g.pages = append(g.pages, path)
			}
		}
	}
	share := func(part float64) int { return int(math.Round(part * float64(subjects))) }
	for _, part := range []struct {
		share  float64
		listed float64 // the part of them that is on a list
		client func(addr netip.Addr)
		addr   func() netip.Addr
	}{
		{.8250, .004, g.visitor, g.v4},
		{.1000, .002, g.visitor, g.privacyV6},
		{.0050, .050, g.gateway, g.v4},
		{.0040, .400, g.scanner, g.v4},
		{.0060, .250, g.slowScanner, g.v4},
		{.0050, .400, g.bruteForcer, g.v4},
		{.0400, .250, g.bot, g.v4},
		{.0150, 0, g.rotating, g.rotatingV6},
	} {
		for range share(part.share) {
			addr := part.addr()
			if g.Float64() < part.listed {
				g.trace.listed[record.KeyOf(addr)] = true
			}
			part.client(addr)
		}
	}
	g.trace.sort()
	return g.trace
}

// plain reports whether a path is no pattern.
func plain(path string) bool {
	for _, c := range path {
		if c == '*' {
			return false
		}
	}
	return true
}

// v4 returns an address of its own. Those of private networks stand for any.
func (g *generator) v4() netip.Addr {
	for {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 10<<24|g.Uint32N(1<<24))
		if addr := netip.AddrFrom4(b); !g.used[addr] {
			g.used[addr] = true
			return addr
		}
	}
}

// privacyV6 returns an address in a /64 of its own: its other addresses are the same subject.
func (g *generator) privacyV6() netip.Addr {
	b := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	binary.BigEndian.PutUint32(b[4:], g.Uint32())
	binary.BigEndian.PutUint64(b[8:], g.Uint64())
	return netip.AddrFrom16(b)
}

// rotatingV6 returns an address in any /64 of one /48.
func (g *generator) rotatingV6() netip.Addr {
	b := [16]byte{0x20, 0x01, 0x0d, 0xb8, 0x0b, 0xad}
	binary.BigEndian.PutUint16(b[6:], uint16(g.Uint32N(1<<16)))
	binary.BigEndian.PutUint64(b[8:], g.Uint64())
	return netip.AddrFrom16(b)
}

func (g *generator) add(at time.Time, addr netip.Addr, method, path string, status int, abusive bool) {
	if at.Before(g.start.Add(day)) {
		g.trace.requests = append(g.trace.requests, request{at, addr, method, path, status, abusive})
	}
}

// whenAwake is a time at which visitors come: three times as many in the afternoon as in the night.
func (g *generator) whenAwake() time.Time {
	for {
		part := g.Float64()
		if g.Float64()*1.5 < 1-.5*math.Cos(2*math.Pi*(part-.125)) {
			return g.start.Add(time.Duration(part * float64(day)))
		}
	}
}

func (g *generator) anytime() time.Time { return g.start.Add(time.Duration(g.Int64N(int64(day)))) }

// after returns a time, on average so long after another.
func (g *generator) after(at time.Time, mean time.Duration) time.Time {
	return at.Add(time.Duration(g.ExpFloat64() * float64(mean)))
}

// visitor reads a page or some: half of them one, one in a hundred more than twenty. Some log in, and some links are
// dead.
func (g *generator) visitor(addr netip.Addr) {
	at := g.whenAwake()
	pages := 1 + int(rand.NewZipf(g.Rand, 1.9, 1, 60).Uint64())
	for range pages {
		path, status := fmt.Sprintf("/page/%d", g.IntN(500)), http.StatusOK
		if g.Float64() < .02 {
			path, status = fmt.Sprintf("/old/%d", g.IntN(500)), http.StatusNotFound
		}
		g.add(at, addr, http.MethodGet, path, status, false)
		if g.files && status == http.StatusOK {
			g.loadFiles(at, addr)
		}
		at = g.after(at, 40*time.Second)
	}
	if g.Float64() < .05 {
		g.logIn(at, addr)
	}
}

// loadFiles is what a browser does with a page: it loads 4 to 15 files, within a second.
func (g *generator) loadFiles(at time.Time, addr netip.Addr) {
	for range 4 + g.IntN(12) {
		at = at.Add(time.Second / 15)
		g.add(at, addr, http.MethodGet, fmt.Sprintf("/files/%d", g.IntN(100)), http.StatusOK, false)
	}
}

// logIn is a visitor's log-in, of which one in ten fails at first.
func (g *generator) logIn(at time.Time, addr netip.Addr) {
	g.add(at, addr, http.MethodGet, loginPath, http.StatusOK, false)
	if g.Float64() < .1 {
		at = g.after(at, 10*time.Second)
		g.add(at, addr, http.MethodPost, loginPath, http.StatusUnauthorized, false)
	}
	g.add(g.after(at, 10*time.Second), addr, http.MethodPost, loginPath, http.StatusSeeOther, false)
}

// gateway is an address that 5 to 50 visitors share.
func (g *generator) gateway(addr netip.Addr) {
	for range 5 + g.IntN(46) {
		g.visitor(addr)
	}
}

// scanner tries 40 to 150 paths in minutes. One in twenty is a trap, after which nobody need be asked.
func (g *generator) scanner(addr netip.Addr) {
	at := g.anytime()
	for range 40 + g.IntN(111) {
		at = g.after(at, 2*time.Second)
		g.probe(at, addr, .05)
	}
}

// slowScanner tries 10 to 40 paths over hours, and no traps.
func (g *generator) slowScanner(addr netip.Addr) {
	at := g.anytime()
	for range 10 + g.IntN(31) {
		at = g.after(at, 10*time.Minute)
		g.probe(at, addr, 0)
	}
}

// probe asks for what is not there: a trap, in one of five cases the page of a product, else anything.
func (g *generator) probe(at time.Time, addr netip.Addr, traps float64) {
	path := fmt.Sprintf("/missing/%d.php", g.IntN(10_000))
	switch chance := g.Float64(); {
	case chance < traps:
		path = g.traps[g.IntN(len(g.traps))]
	case chance < traps+.2:
		path = g.pages[g.IntN(len(g.pages))]
	}
	g.add(at, addr, http.MethodGet, path, http.StatusNotFound, true)
}

// bruteForcer tries 20 to 100 passwords, one a minute.
func (g *generator) bruteForcer(addr netip.Addr) {
	at := g.anytime()
	for range 20 + g.IntN(81) {
		at = g.after(at, time.Minute)
		g.add(at, addr, http.MethodPost, loginPath, http.StatusUnauthorized, true)
	}
}

// bot is one of many that come from everywhere, each with 2 to 6 requests in an hour: half of them try stolen passwords,
// the others write spam, which the site does not notice.
func (g *generator) bot(addr netip.Addr) {
	at, spams := g.anytime(), g.Float64() < .5
	for range 2 + g.IntN(5) {
		if spams {
			g.add(at, addr, http.MethodPost, "/comment", http.StatusOK, true)
		} else {
			g.add(at, addr, http.MethodPost, loginPath, http.StatusUnauthorized, true)
		}
		at = g.after(at, 15*time.Minute)
	}
}

// rotating is one of the /64 that somebody scans with, in one hour of the day.
func (g *generator) rotating(addr netip.Addr) {
	at := g.start.Add(15*time.Hour + time.Duration(g.Int64N(int64(time.Hour))))
	for range 1 + g.IntN(2) {
		g.probe(at, addr, 0)
		at = g.after(at, time.Second)
	}
}
