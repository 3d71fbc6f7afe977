package dnsbl

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// resolver is a resolver on a loopback port, over UDP and TCP.
type resolver struct {
	addr string

	mu    sync.Mutex
	asked []string // "udp 2.0.0.127.bl.test."
}

// serve answers questions by answer, which gets the reply to fill in. Without a message it is silent.
func serve(tb testing.TB, answer func(network string, reply *dns.Msg) *dns.Msg) *resolver {
	tb.Helper()
	r := new(resolver)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
		network := w.LocalAddr().Network()
		r.mu.Lock()
		r.asked = append(r.asked, network+" "+question.Question[0].Name)
		r.mu.Unlock()
		if m := answer(network, new(dns.Msg).SetReply(question)); m != nil {
			_ = w.WriteMsg(m)
		}
	})
	r.addr = testenv.StartDNS(tb, handler)
	return r
}

func (r *resolver) questions() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.asked...)
}

// addresses adds A records to a reply.
func addresses(m *dns.Msg, ttl uint32, codes ...string) *dns.Msg {
	for _, c := range codes {
		m.Answer = append(m.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}, A: net.ParseIP(c),
		})
	}
	return m
}

// absent makes a reply say that the name does not exist.
func absent(m *dns.Msg, owner string, ttl, minimum uint32) *dns.Msg {
	m.Rcode = dns.RcodeNameError
	m.Ns = append(m.Ns, &dns.SOA{
		Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  "ns." + owner, Mbox: "hostmaster." + owner, Minttl: minimum,
	})
	return m
}

// provision returns a provider as Caddy makes it: from JSON.
func provision(tb testing.TB, config string) (*DNSBL, error) {
	tb.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	tb.Cleanup(cancel)
	module, err := ctx.LoadModuleByID("ip_reputation.providers.dnsbl", json.RawMessage(config))
	if err != nil {
		return nil, err
	}
	return module.(*DNSBL), nil
}

// open returns a provider for a list, whose resolvers are the given ones.
func open(tb testing.TB, list string, resolvers ...string) *DNSBL {
	tb.Helper()
	addrs, _ := json.Marshal(resolvers)
	d, err := provision(tb, fmt.Sprintf(`{"list": %q, "resolvers": %s}`, list, addrs))
	if err != nil {
		tb.Fatal(err)
	}
	d.now = func() time.Time { return now }
	return d
}

var (
	now     = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	visitor = netip.MustParseAddr("203.0.113.10")
)

const (
	dqsKey      = "abcdefghijklmnopqrstuvwx12"
	honeyPotKey = "abcdefghijkl"
)
