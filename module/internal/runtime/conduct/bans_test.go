package conduct

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/event"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// punishing returns what bans, and serves, in a bubble.
func punishing(t *testing.T) (*Conduct, *logtest.Log) {
	t.Helper()
	store, err := ban.Open("", ban.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log := new(logtest.Log)
	c := &Conduct{
		Overrides: store, Bans: BanTerms{First: 15 * time.Minute, Most: 24 * time.Hour, Burst: .1},
		Events: event.New(1), Logger: slog.New(slog.DiscardHandler),
	}
	c.Serving = func() *Conduct { return c }
	c.punisher = newPunisher(store, c.Events, c.Serving, slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(func() {
		_ = c.punisher.close()
		_ = store.Close()
	})
	return c, log
}

func numbered(i int) netip.Addr { return netip.AddrFrom4([4]byte{100, byte(i >> 8), byte(i), 1}) }

// TestPunishIsGathered: what comes at once is one change, and each client is banned once, in a tenth of a second.
func TestPunishIsGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, log := punishing(t)
		for range 1000 {
			c.SawClient(numbered(0))
		}
		changed := c.Overrides.Changed()
		for i := range 30 * 100 {
			c.Punish(Punishment{Client: numbered(i % 30), Rule: "ban 1h score 97", For: time.Hour, Site: "shop.example.com", RequestID: "abc"})
		}
		time.Sleep(100 * time.Millisecond)
		<-changed
		if n := c.Overrides.Len(ban.Ban); n != 30 {
			t.Errorf("%d bans", n)
		}
		if e, _ := c.Overrides.BanOf(numbered(7)); e.Expires.Sub(e.Created) < time.Hour || e.Why() != `rule "ban 1h score 97" of shop.example.com, request abc` {
			t.Errorf("%v: %s", e, e.Why())
		}
		if text := log.Take(); strings.Count(text, "msg=banned") != punishShown || !strings.Contains(text, "count=25") {
			t.Errorf("logged %s", text)
		}
		changed = c.Overrides.Changed()
		c.Punish(Punishment{Client: numbered(7), Rule: "ban score 97"})
		c.Punish(Punishment{Client: netip.MustParseAddr("2001:db8::7"), Rule: "violation trap"})
		time.Sleep(100 * time.Millisecond)
		<-changed
		if e, _ := c.Overrides.BanOf(netip.MustParseAddr("2001:db8::8")); e.Cause.By != ban.Violation || e.Expires.Sub(e.Created) > 15*time.Minute+time.Second {
			t.Errorf("%v", e)
		}
		time.Sleep(15*time.Minute + 2*time.Second)
		if n := c.Overrides.Len(ban.Ban); n != 30 {
			t.Errorf("%d bans when one has ended", n)
		}
	})
}

// TestPunishNeverWaits: a flood of clients fills the queue, and no more.
func TestPunishNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, log := punishing(t)
		for i := range 3 * punishQueue {
			c.Punish(Punishment{Client: numbered(i)}) // the clock of the bubble stands still
		}
		if text := log.Take(); strings.Count(text, "reason=queue") != 1 {
			t.Errorf("logged %s", text)
		}
		time.Sleep(time.Second)
		if len(c.punisher.queue) != 0 {
			t.Error("something is left in the queue")
		}
	})
}

// TestBanBurst holds how banning stops by itself, that somebody is told, and that it goes on.
func TestBanBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, log := punishing(t)
		for i := range 1000 {
			c.SawClient(numbered(i))
		}
		punish := func(from, to int) {
			for i := from; i < to; i++ {
				c.Punish(Punishment{Client: numbered(i)})
			}
			time.Sleep(100 * time.Millisecond)
		}
		off := func() (off bool) {
			s := health.State{Bans: c.BansState()}
			s.ProtectionOff(func(reason string, is bool) { off = off || is && reason == "ban_burst" })
			return off
		}
		punish(0, 90)
		if n := c.Overrides.Len(ban.Ban); n != 90 || off() {
			t.Fatalf("%d banned, protection off: %v", n, off())
		}
		log.Take()
		punish(90, 150)
		if n := c.Overrides.Len(ban.Ban); n != 90 || !off() {
			t.Errorf("%d banned, protection off: %v", n, off())
		}
		if text := log.Take(); strings.Count(text, "level=ERROR") != 1 || !strings.Contains(text, "reason=burst") {
			t.Errorf("logged %s", text)
		}
		select {
		case e := <-c.Events.Events():
			if e.Name != event.BanBurst || fmt.Sprint(e.Data["of"]) == "0" {
				t.Errorf("%v", e)
			}
		default:
			t.Error("no event")
		}
		time.Sleep(20 * time.Minute) // ten are forgotten as offenders after ten to twelve minutes, and then it must be calm
		if !off() {
			t.Error("banning goes on too soon")
		}
		time.Sleep(10 * time.Minute)
		for i := range 1000 {
			c.SawClient(numbered(i))
		}
		punish(500, 510)
		if _, found := c.Overrides.BanOf(numbered(505)); !found || off() {
			t.Errorf("banning does not go on: %v, %v", found, off())
		}
		if text := log.Take(); !strings.Contains(text, "ban again") {
			t.Errorf("logged %s", text)
		}
	})
}

// TestOneNetworkMakesNoBurst: whoever has many addresses in one network cannot end that others are banned.
func TestOneNetworkMakesNoBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, log := punishing(t)
		for i := range 200 {
			c.SawClient(numbered(i))
		}
		for i := range 250 {
			own := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 7: byte(i), 15: 1})
			c.SawClient(own)
			c.Punish(Punishment{Client: own, Rule: "violation trap"})
			c.Punish(Punishment{Client: netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})})
		}
		time.Sleep(3 * time.Second)
		c.Punish(Punishment{Client: numbered(7)})
		time.Sleep(time.Second)
		if _, found := c.Overrides.BanOf(numbered(7)); !found || c.BansState().Burst != nil {
			t.Errorf("another client is not banned: %s", log.Take())
		}
		if n := c.Overrides.Len(ban.Ban); n != 2*64+1 {
			t.Errorf("%d bans", n)
		}
	})
}

// TestSpare holds who is never banned.
func TestSpare(t *testing.T) {
	c, _ := punishing(t)
	c.Proxies.Store(&[]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")})
	if _, err := c.Overrides.Add(ban.Entry{Kind: ban.Exemption, Prefix: netip.MustParsePrefix("192.0.2.9/32")}); err != nil {
		t.Fatal(err)
	}
	const peer = "198.51.100.1"
	for name, tc := range map[string]struct {
		client  string
		trusted bool
		strict  int
		verdict reputation.Verdict
		want    violation.Ignored
	}{
		"anybody":                     {client: "192.0.2.1"},
		"behind a proxy":              {client: "192.0.2.1", trusted: true, strict: 1},
		"who chose the address":       {client: "192.0.2.1", trusted: true, want: violation.IgnoredForwarded},
		"the proxy itself":            {client: peer, trusted: true, strict: 1, want: violation.IgnoredProxy},
		"who comes without the proxy": {client: peer},
		"another trusted proxy":       {client: "203.0.113.7", want: violation.IgnoredProxy},
		"private":                     {client: "10.0.0.1", want: violation.IgnoredReserved},
		"IPv6, private":               {client: "fd00::1", want: violation.IgnoredReserved},
		"made up for IPv6":            {client: "240.0.0.1", trusted: true, strict: 1, want: violation.IgnoredReserved},
		"exempt at run time":          {client: "192.0.2.9", want: violation.IgnoredExempt},
		"exempt":                      {client: "192.0.2.1", verdict: reputation.Verdict{Status: reputation.Exempt}, want: violation.IgnoredExempt},
		"a bot":                       {client: "192.0.2.1", verdict: reputation.Verdict{Facts: reputation.Facts{Bot: "googlebot"}}, want: violation.IgnoredBot},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = peer + ":1234"
		ctx := context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.TrustedProxyVarKey: tc.trusted})
		ctx = context.WithValue(ctx, caddyhttp.ServerCtxKey, &caddyhttp.Server{
			TrustedProxiesStrict: tc.strict, ClientIPHeaders: []string{"X-Forwarded-For"},
		})
		r.Header.Set("X-Forwarded-For", tc.client+", 198.51.100.77")
		if got := c.Spare(r.WithContext(ctx), netip.MustParseAddr(tc.client), &tc.verdict); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	c.Punish(Punishment{Client: netip.MustParseAddr("10.0.0.1")})
	if len(c.punisher.queue) != 0 {
		t.Error("a private address waits for its ban")
	}
}

// TestSpareTheOneAddress: where nearly all requests come from one address, a ban of it would shut out all visitors.
func TestSpareTheOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := punishing(t)
		client, another := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for range 10_000 {
			c.Suspects.Sample(r, request.Vars{}, client, &reputation.Verdict{}, slog.New(slog.DiscardHandler))
		}
		c.Punish(Punishment{Client: client})
		c.Punish(Punishment{Client: another})
		time.Sleep(time.Second)
		if _, banned := c.Overrides.BanOf(client); banned {
			t.Error("everybody is banned")
		}
		if _, banned := c.Overrides.BanOf(another); !banned {
			t.Error("another client is not banned")
		}
	})
}

func TestSpan(t *testing.T) {
	for text, d := range map[string]time.Duration{
		"15m": 15 * time.Minute, "1h": time.Hour, "1h30m": 90 * time.Minute, "7d": 7 * 24 * time.Hour, "36h": 36 * time.Hour,
		"10s": 10 * time.Second, "1m30s": 90 * time.Second, "10m": 10 * time.Minute, "1h0m1s": time.Hour + time.Second,
	} {
		if got := Span(d); got != text {
			t.Errorf("%s, want %s", got, text)
		}
	}
}

// BenchmarkPunish is what a request pays whose client is to be banned, and one of any client where sites ban.
func BenchmarkPunish(b *testing.B) {
	store, err := ban.Open("", ban.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	c := &Conduct{Overrides: store, Bans: BanTerms{First: time.Hour, Most: time.Hour, Burst: 1}}
	c.Serving = func() *Conduct { return c }
	c.punisher = newPunisher(store, event.New(1), c.Serving, slog.New(slog.DiscardHandler))
	defer c.punisher.close()
	client := numbered(1)
	b.Run("punish", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.Punish(Punishment{Client: client, Rule: "ban score 97"})
		}
	})
	b.Run("saw", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.SawClient(client)
		}
	})
}
