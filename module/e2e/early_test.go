package e2e_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// handshakeRelay stands between a QUIC client and a server. While it holds back, the server gets the client's first packet
// and its early data, and never the end of the handshake.
type handshakeRelay struct {
	net.PacketConn
	back   net.PacketConn // towards the server
	server net.Addr

	mu     sync.Mutex
	holds  bool
	client net.Addr
	first  bool // the next packet is the first
	held   [][]byte

	early     chan struct{} // closed when early data has come, or nothing is held back any more
	closeOnce sync.Once
}

// distance is how much longer than the client's first early data the server's first packet is under way. With less, the client
// would open its streams while the handshake ends, which are not synchronized in the library's client: streams could hang.
const distance = 100 * time.Millisecond

func startHandshakeRelay(tb testing.TB, server string, holds bool) *handshakeRelay {
	tb.Helper()
	addr, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		tb.Fatal(err)
	}
	listen := func() net.PacketConn {
		conn, err := (&net.ListenConfig{}).ListenPacket(tb.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	r := &handshakeRelay{PacketConn: listen(), back: listen(), server: addr, holds: holds, first: true, early: make(chan struct{})}
	go r.relay(r.PacketConn, r.toServer)
	var once sync.Once
	go r.relay(r.back, func(packet []byte, _ net.Addr) {
		if holds {
			once.Do(func() {
				<-r.early
				time.Sleep(distance)
			})
		}
		r.mu.Lock()
		client := r.client
		r.mu.Unlock()
		_, _ = r.WriteTo(packet, client)
	})
	return r
}

func (r *handshakeRelay) relay(from net.PacketConn, to func([]byte, net.Addr)) {
	buffer := make([]byte, 65536)
	for {
		n, addr, err := from.ReadFrom(buffer)
		if err != nil {
			return
		}
		to(append([]byte(nil), buffer[:n]...), addr)
	}
}

func (r *handshakeRelay) toServer(packet []byte, from net.Addr) {
	const earlyData = 0b1101_0000 // the first bits of such a packet (RFC 9000, 17.2)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.client = from
	isEarly := packet[0]&0b1111_0000 == earlyData
	if r.holds && !r.first && !isEarly {
		r.held = append(r.held, packet)
		return
	}
	if isEarly {
		r.closeOnce.Do(func() { close(r.early) })
	}
	r.first = false
	_, _ = r.back.WriteTo(packet, r.server)
}

// release lets everything through.
func (r *handshakeRelay) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holds = false
	r.closeOnce.Do(func() { close(r.early) })
	for _, packet := range r.held {
		_, _ = r.back.WriteTo(packet, r.server)
	}
	r.held = nil
}

// tickets keeps a server's tickets, with which the next connection can send early data.
type tickets struct {
	tls.ClientSessionCache
	came chan struct{}
}

func (t tickets) Put(key string, state *tls.ClientSessionState) {
	t.ClientSessionCache.Put(key, state)
	select {
	case t.came <- struct{}{}:
	default:
	}
}

// earlyClient sends requests in early data.
type earlyClient struct {
	server  string
	trust   *tls.Config
	tickets tickets
}

func newEarlyClient(server string, trust *tls.Config) *earlyClient {
	all := tickets{tls.NewLRUClientSessionCache(8), make(chan struct{}, 1)}
	trust.ClientSessionCache = all
	trust.CurvePreferences = []tls.CurveID{tls.X25519} // so that the first message is one packet
	return &earlyClient{server, trust, all}
}

// ask sends a request on a connection of its own, in early data or after the handshake. After that, it waits for a ticket.
func (c *earlyClient) ask(tb testing.TB, early bool, header http.Header) reply {
	tb.Helper()
	relay := startHandshakeRelay(tb, c.server, early)
	defer relay.release()
	if !early {
		select {
		case <-c.tickets.came: // an old one
		default:
		}
	}
	var conn *quic.Conn
	transport := &http3.Transport{TLSClientConfig: c.trust, Dial: func(
		ctx context.Context, _ string, config *tls.Config, settings *quic.Config,
	) (*quic.Conn, error) {
		dial := quic.DialAddr
		if early {
			dial = quic.DialAddrEarly
		}
		var err error
		conn, err = dial(ctx, relay.LocalAddr().String(), config, settings)
		return conn, err
	}}
	defer func() { _ = transport.Close() }()
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+siteName+"/", nil)
	if err != nil {
		tb.Fatal(err)
	}
	r.Header = header
	if early {
		r.Method = http3.MethodGet0RTT
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	if early && !conn.ConnectionState().Used0RTT {
		tb.Fatal("the request was not sent in early data")
	}
	if !early {
		select {
		case <-c.tickets.came:
		case <-ctx.Done():
			tb.Fatal("the server sent no ticket")
		}
	}
	return reply{resp.StatusCode, resp.Header, string(body)}
}

// TestEarlyData proves over real connections that early data passes unless it would be refused, that the application
// learns nothing of an address which may be forged, and that nothing of the client's own gets through.
func TestEarlyData(t *testing.T) {
	b := startBackend(t)
	c := forgedConfig(t, b)
	c.server["logs"] = object{}
	c.handler["log"] = object{"decisions": "all"}
	c.next = []any{
		object{"handler": "subroute", "routes": []any{object{
			"match":  []any{object{"ip_reputation": object{"score": "99"}}},
			"handle": []any{object{"handler": "headers", "request": object{"set": object{"X-Matched": []any{"yes"}}}}},
		}}},
		proxyTo(b.Server),
	}
	trust := c.secure(t)
	r := startCaddy(t, c)
	client := newEarlyClient(c.siteAddr, trust)
	header := func(addr string) http.Header {
		return http.Header{
			"X-Forwarded-For": {addr}, "X-Ip-Reputation-Score": {"0"}, "X-Ip-Reputation-Status": {"exempt"}, "X-Request-Id": {"of-the-client"},
		}
	}
	for _, tc := range []struct {
		mode, addr, action string
		early, matched     bool
		status             int
	}{
		{"enforce", cleanClient, "pass", true, false, http.StatusAccepted},
		{"enforce", exemptClient, "pass", true, false, http.StatusAccepted},
		{"enforce", deniedClient, "block", true, false, http.StatusAccepted}, // by the error route, as an answer of the application
		{"observe", deniedClient, "block;mode=observe", true, true, http.StatusAccepted},
	} {
		c.handler["mode"] = tc.mode
		r.reload(t)
		client.ask(t, false, header(exemptClient)) // for a ticket of this server
		b.forget()
		const asked = `lookups_total{origin="provider"}`
		counted := `requests_total{action="` + strings.TrimSuffix(tc.action, ";mode=observe") + `",mode="` + tc.mode + `",status="unknown"}`
		askedBefore, countedBefore := r.metric(t, asked), r.metric(t, counted)

		got := client.ask(t, true, header(tc.addr))
		arrived := b.only(t)
		wantTold(t, arrived, map[string]string{"Status": "unknown", "Action": tc.action, "Coverage": "0.00"})
		id := got.header.Get("X-Request-Id")
		if got.status != tc.status || len(id) != 32 || arrived.header.Get("X-Request-Id") != id {
			t.Errorf("%s %s: got %d, ID %q, the application %q", tc.mode, tc.addr, got.status, id, arrived.header["X-Request-Id"])
		}
		if (arrived.header.Get("X-Matched") == "yes") != tc.matched {
			t.Errorf("%s %s: matched %q", tc.mode, tc.addr, arrived.header["X-Matched"])
		}
		if r.metric(t, asked) != askedBefore {
			t.Errorf("%s %s: a provider was asked", tc.mode, tc.addr)
		}
		if n := r.metric(t, counted) - countedBefore; n != 1 {
			t.Errorf("%s %s: counted %v times", tc.mode, tc.addr, n)
		}
		eventually(t, "the decision about "+id+" is logged", func() bool { return strings.Count(r.logs(t), id) >= 2 })
	}

	c.handler["mode"] = "enforce"
	c.server["errors"] = object(nil)
	r.reload(t)
	client.ask(t, false, header(exemptClient))
	b.forget()
	if got := client.ask(t, true, header(deniedClient)); got.status != http.StatusTooEarly || got.header.Get("Cache-Control") != "no-store" ||
		!strings.Contains(got.body, got.header.Get("X-Request-Id")) {
		t.Errorf("denied, without error routes: got %+v", got)
	}
	if got := client.ask(t, false, header(deniedClient)); got.status != http.StatusForbidden {
		t.Errorf("denied, after the handshake: got %+v", got)
	}
	b.none(t)
}
