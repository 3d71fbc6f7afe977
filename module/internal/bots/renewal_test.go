package bots

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestRenewal: a bot that is verified by its name stays so while it comes. Nobody waits for its renewal, and while DNS
// is down the last good answer holds until it ends.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(stub)
		v := googlebots(t, s)
		if got := at(v, "192.0.2.1", time.Minute); got != Verified {
			t.Fatalf("%s", got)
		}
		s.set(func(s *stub) { s.takes = 100 * time.Millisecond })
		for range 10 { // days
			for range 24 {
				time.Sleep(time.Hour)
				began := time.Now()
				if got := at(v, "192.0.2.1", 25*time.Millisecond); got != Verified || time.Since(began) != 0 {
					t.Fatalf("%s after %s", got, time.Since(began))
				}
				time.Sleep(time.Second)
			}
		}
		if n := s.questions(); n > 4+4*2*10 {
			t.Errorf("%d questions in ten days", n)
		}

		time.Sleep(renewedFor + time.Hour)
		if got := at(v, "192.0.2.1", 0); got != Verified {
			t.Fatalf("%s before DNS is down", got)
		}
		time.Sleep(time.Second)
		s.set(func(s *stub) { s.err = errors.New("SERVFAIL") })
		before := s.questions()
		for range 11 * 60 {
			time.Sleep(time.Minute)
			for range 20 {
				if got := at(v, "192.0.2.1", 0); got != Verified {
					t.Fatalf("%s while DNS is down", got)
				}
			}
			synctest.Wait()
		}
		if n := s.questions() - before; n > 11*60 {
			t.Errorf("%d questions in eleven hours to a resolver that is down", n)
		}
		time.Sleep(confirmedFor)
		if got := at(v, "192.0.2.1", time.Minute); got != Indeterminate {
			t.Errorf("%s a day later", got)
		}
		v.reverse.Close()
	})
}

// TestNameTakenAway: a bot whose name does not lead back any more ends to be one within half a day, and at once where
// somebody asks afresh.
func TestNameTakenAway(t *testing.T) {
	r := newRemembered()
	key := claimKey{bot: 1, addr: netip.MustParseAddr("192.0.2.1")}
	r.learn(key, confirmed)
	r.learn(key, failed)
	if f, left := r.get(key); f != confirmed || left < confirmedFor-time.Minute {
		t.Errorf("after a failure: %d for %s", f, left)
	}
	r.learn(key, missed)
	if f, _ := r.get(key); f != missed {
		t.Errorf("after a miss: %d", f)
	}
	r.learn(key, failed)
	if f, _ := r.get(key); f != failed {
		t.Errorf("a failure after a miss: %d", f)
	}
}

// TestSlowNamesOfANetwork: one network whose owner lets reverse DNS hang does not keep others waiting.
func TestSlowNamesOfANetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{takes: time.Hour}
		v := googlebots(t, s)
		for i := range 250 {
			at(v, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}).String(), 0)
			at(v, netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 9, 15: byte(i)}).String(), 0)
		}
		synctest.Wait() // all of them hang
		s.set(func(s *stub) { s.takes = 0 })
		if got := at(v, "192.0.2.1", 25*time.Millisecond); got != Verified {
			t.Errorf("another network's bot is %s", got)
		}
		v.reverse.Close()
		if n := len(v.reverse.of); n != 0 {
			t.Errorf("%d networks are known after the end", n)
		}
	})
}

// TestOfTheSameOperator: an operator's own addresses are no fakes, whichever of its bots comes from them.
func TestOfTheSameOperator(t *testing.T) {
	r := NewReverse(new(stub), discard)
	t.Cleanup(r.Close)
	list := Named("openai")
	ranges := RangesOf(list)
	var search, gpt *Bot
	for _, b := range list {
		switch b.Name {
		case "oai-searchbot":
			search = b
		case "gptbot":
			gpt = b
		}
	}
	v := NewVerifier(list, published{holds: map[int]string{
		positionOf(ranges, search.Ranges): "192.0.2.0/25", positionOf(ranges, gpt.Ranges): "192.0.2.128/25",
	}}, r)
	for addr, want := range map[string]Outcome{
		"192.0.2.1": Verified, "192.0.2.200": Indeterminate, "198.51.100.1": Fake,
	} {
		claim := v.Claim("OAI-SearchBot/1.3")
		if got := v.Verify(t.Context(), claim, netip.MustParseAddr(addr), 0); got != want {
			t.Errorf("%s is %s, want %s", addr, got, want)
		}
		if x := v.Explain(t.Context(), claim, netip.MustParseAddr(addr), false); x.Outcome != want || len(x.Why) == 0 {
			t.Errorf("%s is explained as %+v", addr, x)
		}
	}
}
