package dnsbl

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func listed(_ string, m *dns.Msg) *dns.Msg { return addresses(m, 900, "127.0.0.2") }

// What does not fit into a datagram is asked for again by TCP.
func TestTruncatedAnswersAreAskedForByTCP(t *testing.T) {
	r := serve(t, func(network string, m *dns.Msg) *dns.Msg {
		if network == "udp" {
			addresses(m, 900, "127.0.0.3")
			m.Truncated = true
			return m
		}
		return listed(network, m)
	})
	got, err := check(t, open(t, "zen", r.addr), visitor, "")
	if err != nil || got.Severity != .9 {
		t.Errorf("%+v, %v", got, err)
	}
	name := "10.113.0.203.zen.spamhaus.org."
	if diff := cmp.Diff([]string{"udp " + name, "tcp " + name}, r.questions()); diff != "" {
		t.Errorf("the questions differ (-want +got):\n%s", diff)
	}

	never := serve(t, func(_ string, m *dns.Msg) *dns.Msg { m.Truncated = true; return m })
	if _, err := check(t, open(t, "zen", never.addr), visitor, ""); !errors.Is(err, reputation.ErrBadAnswer) {
		t.Errorf("cut off by TCP, too: %v", err)
	}
}

// Datagrams about something else are strays, or somebody's guesses: the answer is waited for.
func TestAnswersToOtherQuestionsAreLeftOut(t *testing.T) {
	udp, tcp := testenv.ListenDNS(t)
	defer tcp.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 1500)
		n, from, err := udp.ReadFrom(buffer)
		question := new(dns.Msg)
		if err != nil || question.Unpack(buffer[:n]) != nil {
			return
		}
		for _, change := range []func(m *dns.Msg){
			func(m *dns.Msg) { m.Id++ },
			func(m *dns.Msg) { m.Question[0].Name = "7.100.51.198.zen.spamhaus.org." },
			func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT },
			func(m *dns.Msg) { m.Question = nil },
			func(m *dns.Msg) { m.Response = false },
			func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify },
		} {
			stray := addresses(new(dns.Msg).SetReply(question), 900, "127.0.0.30")
			change(stray)
			raw, _ := stray.Pack()
			_, _ = udp.WriteTo(raw, from)
		}
		_, _ = udp.WriteTo([]byte{1}, from)
		raw, _ := addresses(new(dns.Msg).SetReply(question), 900, "127.0.0.3").Pack()
		_, _ = udp.WriteTo(raw, from)
	}()
	got, err := check(t, open(t, "zen", udp.LocalAddr().String()), visitor, "")
	if err != nil || got.Severity != .8 {
		t.Errorf("%+v, %v", got, err)
	}
	_ = udp.Close()
	<-done
}

// One that sends nothing but strays is given up before the time is.
func TestStraysWithoutEndAreNoAnswer(t *testing.T) {
	udp, tcp := testenv.ListenDNS(t)
	defer tcp.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 1500)
		_, from, err := udp.ReadFrom(buffer)
		for range 2 * maxStrays {
			if err == nil {
				_, err = udp.WriteTo([]byte{0, 0}, from)
			}
		}
	}()
	_, err := check(t, open(t, "zen", udp.LocalAddr().String()), visitor, "")
	if !errors.Is(err, reputation.ErrBadAnswer) {
		t.Errorf("got %v", err)
	}
	_ = udp.Close()
	<-done
}

// After a resolver that is gone, lies, refuses or has no answer, the next one is asked.
func TestTheNextResolverIsAsked(t *testing.T) {
	good := serve(t, listed)
	for name, bad := range map[string]func(string, *dns.Msg) *dns.Msg{
		"SERVFAIL": func(_ string, m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeServerFailure; return m },
		"REFUSED":  func(_ string, m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeRefused; return m },
		"hijacks":  func(_ string, m *dns.Msg) *dns.Msg { return addresses(m, 900, "192.0.2.80") },
		"public":   func(_ string, m *dns.Msg) *dns.Msg { return addresses(m, 900, "127.255.255.254") },
	} {
		r := serve(t, bad)
		if got, err := check(t, open(t, "zen", r.addr, good.addr), visitor, ""); err != nil || got.Severity != .9 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	udp, tcp := testenv.ListenDNS(t)
	_, _ = udp.Close(), tcp.Close()
	if got, err := check(t, open(t, "zen", udp.LocalAddr().String(), good.addr), visitor, ""); err != nil || got.Severity != .9 {
		t.Errorf("nobody is there: %+v, %v", got, err)
	}
	busy := serve(t, func(_ string, m *dns.Msg) *dns.Msg { return addresses(m, 900, "127.255.255.255") })
	before := len(good.questions())
	_, err := check(t, open(t, "zen", busy.addr, good.addr), visitor, "")
	if reputation.ResultOf(err) != reputation.ResultThrottled || len(good.questions()) > before {
		t.Errorf("asked too often: %v, %d more questions", err, len(good.questions())-before)
	}
}

// A silent resolver is asked twice within the time of the call, and the error says what to do.
func TestASilentResolver(t *testing.T) {
	r := serve(t, func(string, *dns.Msg) *dns.Msg { return nil })
	d := open(t, "zen", r.addr)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := d.Check(ctx, reputation.Query{Addr: visitor})
	if reputation.ResultOf(err) != reputation.ResultTimeout || !strings.Contains(err.Error(), r.addr) {
		t.Errorf("got %v", err)
	}
	if n := len(r.questions()); n != 2 {
		t.Errorf("%d questions, want 2", n)
	}
}

// A call ends with its context, which may have no deadline.
func TestACallEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := serve(t, func(string, *dns.Msg) *dns.Msg { cancel(); return nil })
	if _, err := open(t, "zen", r.addr).Check(ctx, reputation.Query{Addr: visitor}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestResolversOfTheSystem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	for _, tc := range []struct {
		text string
		want []string
	}{
		{"nameserver 127.0.0.53\nnameserver ::1\noptions edns0\n", []string{"127.0.0.53:53", "[::1]:53"}},
		{"nameserver fe80::1%eth0\n", []string{"[fe80::1%eth0]:53"}},
		{strings.Repeat("nameserver 127.0.0.1\n", 9), []string{"127.0.0.1:53", "127.0.0.1:53", "127.0.0.1:53", "127.0.0.1:53"}},
		{"search example.org\n", nil},
		{"nameserver localhost\n", nil},
		{"nameserver 127.0.0.1\n" + strings.Repeat("# \n", systemFileSize/3), nil},
		{"", nil},
	} {
		if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := readSystem(path)
		var got []string
		for _, at := range found {
			got = append(got, at.String())
		}
		if diff := cmp.Diff(tc.want, got); diff != "" || (err == nil) != (tc.want != nil) {
			t.Errorf("%q: %v (-want +got):\n%s", tc.text, err, diff)
		}
	}
	if _, err := readSystem(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there gives resolvers")
	}
}

func TestParseResolver(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1": "127.0.0.1:53", "127.0.0.1:5353": "127.0.0.1:5353", "::1": "[::1]:53", "[::1]:5353": "[::1]:5353",
		"localhost": "", "127.0.0.1:0": "", "127.0.0.1:x": "", "": "", "udp://127.0.0.1": "",
	} {
		got, err := parseResolver(text)
		if want == "" && err == nil || want != "" && got.String() != want {
			t.Errorf("%q: %s, %v; want %q", text, got, err, want)
		}
	}
}

// A placeholder of a resolver is resolved when the configuration is loaded.
func TestAResolverMayBeAPlaceholder(t *testing.T) {
	t.Setenv("DNSBL_RESOLVER", "[::1]:5353")
	d := open(t, "zen", "{env.DNSBL_RESOLVER}")
	if got := d.resolvers.named; len(got) != 1 || got[0] != netip.MustParseAddrPort("[::1]:5353") {
		t.Errorf("resolvers %v", got)
	}
	for _, bad := range []string{"{env.DNSBL_NO_RESOLVER}", "localhost"} {
		if _, err := provision(t, `{"list": "zen", "resolvers": ["`+bad+`"]}`); err == nil {
			t.Errorf("%s is taken for a resolver", bad)
		}
	}
}
