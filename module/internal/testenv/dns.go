package testenv

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// DNS is a server that answers questions on a port of its own. Names are in lower case, with their last dot.
type DNS struct {
	mu      sync.Mutex
	asked   map[string]int
	failing map[string]int

	// Addr is the server's address and port.
	Addr string

	// Records are the answers, by "name TYPE": the data of records of this type, or whole records of any. Names without
	// any do not exist. Records and Hijack must not change while the server is asked.
	Records map[string][]string

	// Hijack is the address that the server gives to names that do not exist. Default: it says so.
	Hijack string
}

// ServeDNS starts a DNS server.
func ServeDNS(tb testing.TB) *DNS {
	tb.Helper()
	d := &DNS{Records: map[string][]string{}, failing: map[string]int{}, asked: map[string]int{}}
	d.Addr = StartDNS(tb, d)
	return d
}

// StartDNS starts a DNS server over UDP and TCP, which answers by the handler, and returns its address.
func StartDNS(tb testing.TB, handler dns.Handler) (addr string) {
	tb.Helper()
	udp, tcp := ListenDNS(tb)
	for _, server := range []*dns.Server{{PacketConn: udp, Handler: handler}, {Listener: tcp, Handler: handler}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		done := make(chan error, 1)
		go func() { done <- server.ActivateAndServe() }()
		<-started
		tb.Cleanup(func() {
			_ = server.Shutdown()
			if err := <-done; err != nil {
				tb.Error(err)
			}
		})
	}
	return udp.LocalAddr().String()
}

// ListenDNS listens on one port for UDP and TCP. One that is free for the first may be taken for the other.
func ListenDNS(tb testing.TB) (udp net.PacketConn, tcp net.Listener) {
	tb.Helper()
	const attempts = 20
	var err error
	for range attempts {
		if udp, err = new(net.ListenConfig).ListenPacket(tb.Context(), "udp", "127.0.0.1:0"); err != nil {
			break
		}
		if tcp, err = new(net.ListenConfig).Listen(tb.Context(), "tcp", udp.LocalAddr().String()); err == nil {
			return udp, tcp
		}
		_ = udp.Close()
	}
	tb.Fatal(err)
	return nil, nil
}

// ServeDNS implements dns.Handler.
func (d *DNS) ServeDNS(w dns.ResponseWriter, m *dns.Msg) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := m.Question[0]
	name, kind := strings.ToLower(q.Name), dns.TypeToString[q.Qtype]
	d.asked[name+" "+kind]++
	answer := new(dns.Msg).SetReply(m)
	answer.RecursionAvailable = true
	data, found := d.Records[name+" "+kind]
	switch rcode, fails := d.failing[name]; {
	case fails:
		answer.Rcode = rcode
	case found:
		for _, text := range data {
			if !strings.Contains(text, " IN ") {
				text = name + " 60 IN " + kind + " " + text
			}
			if rr, err := dns.NewRR(text); err == nil {
				answer.Answer = append(answer.Answer, rr)
			}
		}
	case d.Hijack != "" && q.Qtype == dns.TypeA:
		rr, _ := dns.NewRR(name + " 60 IN A " + d.Hijack)
		answer.Answer = append(answer.Answer, rr)
	default:
		answer.Rcode = dns.RcodeNameError
	}
	if w.RemoteAddr().Network() == "udp" {
		answer.Truncate(dns.MinMsgSize)
	}
	_ = w.WriteMsg(answer)
}

// Fail answers questions about a name with an error, by its code.
func (d *DNS) Fail(name string, rcode int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing[name] = rcode
}

// Name gives an address names, and each name the addresses behind it.
func (d *DNS) Name(addr string, names map[string][]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	reverse, _ := dns.ReverseAddr(addr)
	for name, addrs := range names {
		d.Records[reverse+" PTR"] = append(d.Records[reverse+" PTR"], name+".")
		for _, a := range addrs {
			kind := " AAAA"
			if netip.MustParseAddr(a).Is4() {
				kind = " A"
			}
			d.Records[strings.ToLower(name)+"."+kind] = append(d.Records[strings.ToLower(name)+"."+kind], a)
		}
	}
}

// Count returns how many questions began with a text.
func (d *DNS) Count(prefix string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for question, times := range d.asked {
		if strings.HasPrefix(question, prefix) {
			n += times
		}
	}
	return n
}
