package testenv

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
)

// Link is a TCP proxy with faults. It has one fault at a time: each replaces the one before. A
// fault affects open and new connections.
//
// The faults are toxiproxy's, but the connections are made here. Toxiproxy's own
// connections cannot be reset once they are open, and leak a goroutine if the
// client disconnects while bytes are being sent to it.
type Link struct {
	Addr string // the address for clients

	tb     testing.TB
	end    context.Context // the test's
	toxics *toxiproxy.ToxicCollection
	resets atomic.Bool
	group  sync.WaitGroup

	mu       sync.Mutex
	upstream string
	listener net.Listener // nil while the link is down
	pairs    map[*pair]struct{}
	count    int  // of pairs since the start
	swallows bool // bytes are lost, so that the connections are unusable afterwards
}

// Proxy starts a link to upstream, host:port or the path of a unix socket.
func Proxy(tb testing.TB, upstream string) *Link {
	tb.Helper()
	end, cancel := context.WithCancel(context.Background())
	proxy := &toxiproxy.Proxy{}
	proxy.Toxics = toxiproxy.NewToxicCollection(proxy)
	l := &Link{tb: tb, upstream: upstream, end: end, toxics: proxy.Toxics, pairs: map[*pair]struct{}{}}
	tb.Cleanup(func() {
		cancel()
		l.Down()
		l.group.Wait()
	})
	listener := listenAnywhere(tb)
	l.Addr = listener.Addr().String()
	l.accept(listener)
	return l
}

// Latency delays every answer by d, in whole milliseconds.
func (l *Link) Latency(d time.Duration) {
	l.tb.Helper()
	l.set(fault{up: true, toxics: []string{toxic("latency", "downstream", "latency", d.Milliseconds())}})
}

// BlackHole drops all bytes in both directions. Connections are accepted and stay
// open. The next fault closes them.
func (l *Link) BlackHole() {
	l.tb.Helper()
	l.set(fault{up: true, swallows: true, toxics: []string{
		toxic("timeout", "upstream", "timeout", 0),
		toxic("timeout", "downstream", "timeout", 0),
	}})
}

// Drip forwards answers byte by byte, with the given number of bytes per second and connection.
func (l *Link) Drip(bytesPerSecond int) {
	l.tb.Helper()
	delay := time.Second / time.Duration(bytesPerSecond)
	slicer := toxic("slicer", "downstream", "average_size", 1, "delay", delay.Microseconds())
	l.set(fault{up: true, toxics: []string{slicer}})
}

// Reset resets each connection instead of forwarding its next answer: the server has processed the
// request, but the client cannot know it.
func (l *Link) Reset() {
	l.tb.Helper()
	l.set(fault{up: true, resets: true})
}

// Down closes all connections and refuses new ones.
func (l *Link) Down() {
	l.tb.Helper()
	l.set(fault{})
}

// Lead makes new connections go to another server, as an address that moves does. Open connections
// stay where they are.
func (l *Link) Lead(upstream string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.upstream = upstream
}

// Heal ends all faults.
func (l *Link) Heal() {
	l.tb.Helper()
	l.set(fault{up: true})
}

type fault struct {
	up, resets, swallows bool
	toxics               []string // in toxiproxy's JSON
}

// toxic returns a toxic's JSON, with attributes as names and values.
func toxic(kind, direction string, attributes ...any) string {
	var b strings.Builder
	for pair := range slices.Chunk(attributes, 2) {
		fmt.Fprintf(&b, `,"%v":%v`, pair...)
	}
	return fmt.Sprintf(`{"type":%q,"stream":%q,"attributes":{%s}}`, kind, direction,
		strings.TrimPrefix(b.String(), ","))
}

func (l *Link) set(f fault) {
	l.tb.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.swallows { // before its toxic is removed, which would leave bytes stuck before it
		l.hangUp()
	}
	l.toxics.ResetToxics(context.Background())
	l.resets.Store(f.resets)
	l.swallows = f.swallows
	for _, json := range f.toxics {
		if _, err := l.toxics.AddToxicJson(strings.NewReader(json)); err != nil {
			l.tb.Fatalf("%s: %v", json, err)
		}
	}
	switch {
	case f.up && l.listener == nil:
		listener, err := listen(l.Addr)
		if err != nil {
			l.tb.Fatal(err)
		}
		l.accept(listener)
	case !f.up && l.listener != nil:
		_ = l.listener.Close() // it is closed once only
		l.listener = nil
		l.hangUp()
	}
}

// accept accepts the listener's clients until the listener is closed.
func (l *Link) accept(listener net.Listener) {
	l.listener = listener
	l.group.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil { // it is closed
				return
			}
			l.group.Go(func() { l.forward(client) })
		}
	})
}

// hangUp closes all connections and waits for their goroutines.
func (l *Link) hangUp() {
	for p := range l.pairs {
		p.close()
		p.halves.Wait()
	}
}

// forward connects a client to the server, and returns when both connections are closed.
func (l *Link) forward(client net.Conn) {
	l.mu.Lock()
	upstream := l.upstream
	l.mu.Unlock()
	server, err := dial(l.end, upstream, nil)
	if err != nil {
		_ = client.Close() // as the server would
		return
	}
	p := &pair{client: client, server: server, resets: &l.resets}
	if !l.connect(p) {
		p.close()
		return
	}
	p.halves.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pairs, p)
}

func (l *Link) connect(p *pair) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener == nil { // it is down now
		return false
	}
	l.pairs[p] = struct{}{}
	l.count++ // toxiproxy needs unique names
	p.halves.Add(2)
	server := &toxiproxy.ApiServer{Metrics: toxiproxy.NewMetricsContainer(nil)} // the minimum that it needs
	l.toxics.StartLink(server, fmt.Sprint(l.count, "up"), p.client, half{p, p.server}, stream.Upstream)
	l.toxics.StartLink(server, fmt.Sprint(l.count, "down"), p.server, half{p, p.client}, stream.Downstream)
	return true
}

// pair is a client's connection and its connection to the server.
type pair struct {
	client, server net.Conn
	resets         *atomic.Bool
	halves         sync.WaitGroup // open halves
}

func (p *pair) close() {
	_ = p.client.Close() // either may be closed already
	_ = p.server.Close()
}

// half is the writer for toxiproxy in one direction.
type half struct {
	*pair
	to net.Conn
}

// Write never fails: after an error, toxiproxy stops reading, and pending bytes are stuck forever.
// Instead, it closes the connection, which ends them.
func (h half) Write(b []byte) (int, error) {
	if h.resets.Load() && h.to == h.client {
		if tcp, ok := h.client.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // so that closing sends a reset
		}
		h.close()
	} else if _, err := h.to.Write(b); err != nil {
		h.close()
	}
	return len(b), nil
}

// Close is called when one side is done. It closes both.
func (h half) Close() error {
	h.close()
	h.halves.Done()
	return nil
}
