package bots

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestDeadServers: of several servers, one that answers is enough, and the dead ones are not asked at each question.
func TestDeadServers(t *testing.T) {
	for name, dead := range map[string]*stub{
		"silent": {takes: time.Hour}, "SERVFAIL": {err: &net.DNSError{Err: "server misbehaving", IsTemporary: true}},
		"unreachable": {err: errors.New("connection refused")},
	} {
		synctest.Test(t, func(t *testing.T) {
			good := new(stub)
			r := NewReverse(&inOrder{servers: []Resolver{dead, good, dead}}, discard)
			v := NewVerifier(Named("google"), published{}, r)
			for _, addr := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
				if got := at(v, addr, time.Minute); got != Verified {
					t.Errorf("%s: %s is %s", name, addr, got)
				}
			}
			if got := at(v, "192.0.2.6", time.Minute); got != Fake {
				t.Errorf("%s: a fake is %s", name, got)
			}
			if n := dead.questions(); n != 1 {
				t.Errorf("%s: a dead server was asked %d times", name, n)
			}

			good.set(func(s *stub) { s.err = errors.New("down, too") })
			if got := at(v, "192.0.2.16", time.Minute); got != Indeterminate {
				t.Errorf("%s: %s while no server answers", name, got)
			}
			r.Close()
		})
	}
}

// liesAboutNames is a resolver that has an address for every name.
type liesAboutNames struct{ stub }

func (l *liesAboutNames) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("203.0.113.80")}, nil
}

// TestHonestyOfEachServer: that one server is honest says nothing about the next one.
func TestHonestyOfEachServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		honestOne, hijacking := new(stub), new(liesAboutNames)
		r := NewReverse(&inOrder{servers: []Resolver{honestOne, hijacking}}, discard)
		v := NewVerifier(Named("google"), published{}, r)
		if got := at(v, "192.0.2.6", time.Minute); got != Fake {
			t.Errorf("%s by an honest server", got)
		}
		honestOne.set(func(s *stub) { s.err = errors.New("down") })
		if got := at(v, "192.0.2.16", time.Minute); got != Indeterminate || !v.Hijacked() {
			t.Errorf("%s by one that invents answers", got)
		}
		r.Close()
	})
}
