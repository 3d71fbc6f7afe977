package ban

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

var offender = netip.MustParseAddr("198.51.100.7")

func sentence(client netip.Addr) Sentence {
	return Sentence{
		Client: client, First: 15 * time.Minute, Most: 24 * time.Hour,
		Cause: Cause{By: Rule, Rule: "ban score 97", Site: "shop.example.com", RequestID: "abc"},
	}
}

// punish carries out sentences and returns what became of each.
func punish(t testing.TB, s *Store, clients ...netip.Addr) []Punished {
	t.Helper()
	var list []Sentence
	for _, client := range clients {
		list = append(list, sentence(client))
	}
	done, err := s.Punish(list)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func TestBansGrow(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	a, _ := openAt(t, filepath.Join(dir, "a.json"), c.now)
	b, _ := openAt(t, "", c.now)
	for i, want := range []time.Duration{
		15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour,
		24 * time.Hour, 24 * time.Hour,
	} {
		on := []*Store{a, b}[i%2] // each knows what the other one has done
		done := punish(t, on, offender, offender)
		if done[0].Outcome != Banned || done[1].Outcome != AlreadyDone {
			t.Fatalf("ban %d: %v", i+1, done)
		}
		if e := done[0].Entry; e.Expires.Sub(e.Created) != want || e.Cause.Times != i+1 {
			t.Errorf("ban %d lasts %s, the %s", i+1, e.Expires.Sub(e.Created), e.Why())
		}
		exchange(t, a, b)
		c.add(want / 2)
		if done := punish(t, a, offender); done[0].Outcome != AlreadyDone || lookup(b, offender.String()) != "banned" {
			t.Fatalf("ban %d in force: %v", i+1, done)
		}
		c.add(want/2 + time.Minute)
		a.expire(false)
		b.expire(false)
		if lookup(a, offender.String()) != "" || a.Len(Ban) != 0 {
			t.Fatalf("ban %d has not ended", i+1)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		a, _ = openAt(t, filepath.Join(dir, "a.json"), c.now) // a restart forgets nothing
	}
	c.add(memory)
	if done := punish(t, a, offender); done[0].Entry.Cause.Times != 1 {
		t.Errorf("after a week: %s", done[0].Entry.Why())
	}
}

// TestUnbanForgets: an operator who ends a ban, or what is remembered of it, takes it back.
func TestUnbanForgets(t *testing.T) {
	for name, ended := range map[string]bool{"in force": false, "over": true} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			a, _ := openAt(t, "", c.now)
			b, _ := openAt(t, "", c.now)
			punish(t, a, offender)
			exchange(t, a, b)
			if ended {
				c.add(time.Hour)
				a.expire(false)
				b.expire(false)
			}
			subject := netip.PrefixFrom(offender, 32)
			if _, remembered := b.Remembered(subject); remembered != ended {
				t.Errorf("only remembered: %v", remembered)
			}
			if found, err := b.Remove(Ban, subject); !found || err != nil {
				t.Fatalf("%v, %v", found, err)
			}
			exchange(t, a, b)
			c.add(time.Second)
			if done := punish(t, a, offender); done[0].Entry.Cause.Times != 1 {
				t.Errorf("%v", done)
			}
		})
	}
}

func TestOperatorsEntriesStand(t *testing.T) {
	c := newClock()
	client := netip.MustParseAddr(addr)
	for name, e := range map[string]Entry{
		"a ban":           {Kind: Ban, Prefix: netip.PrefixFrom(client, 32), Expires: c.now().Add(time.Minute)},
		"a ban of more":   {Kind: Ban, Prefix: netip.MustParsePrefix(prefix)},
		"an exemption":    {Kind: Exemption, Prefix: netip.PrefixFrom(client, 32)},
		"a long-term ban": {Kind: Ban, Prefix: netip.PrefixFrom(client, 32)},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := openAt(t, "", c.now)
			if _, err := s.Add(e); err != nil {
				t.Fatal(err)
			}
			before := slices.Concat(s.List(Ban), s.List(Exemption))
			want := AlreadyDone
			if e.Kind == Exemption {
				want = Exempt
			}
			if done := punish(t, s, client); done[0].Outcome != want {
				t.Errorf("%v", done)
			}
			if diff := cmp.Diff(before, slices.Concat(s.List(Ban), s.List(Exemption)), comparePrefixes); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestOperatorsBanStandsElsewhere: a rule of an instance that could not know of an operator's ban does not end it.
func TestOperatorsBanStandsElsewhere(t *testing.T) {
	for name, lasts := range map[string]time.Duration{"for good": 0, "for an hour": time.Hour, "for a minute": time.Minute} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			a, _ := openAt(t, "", c.now)
			b, _ := openAt(t, "", c.now)
			off, _ := openAt(t, "", c.now)
			next, _ := openAt(t, "", c.now)
			e := Entry{Kind: Ban, Prefix: netip.PrefixFrom(offender, 32)}
			if lasts > 0 {
				e.Expires = c.now().Add(lasts)
			}
			if _, err := a.Add(e); err != nil {
				t.Fatal(err)
			}
			operators := a.List(Ban)
			exchange(t, a, b)
			c.add(time.Second)
			punish(t, off, offender)
			c.add(time.Millisecond) // with the version that the operator's ban has when it has stood against the first
			punish(t, next, offender)
			exchange(t, a, off)
			exchange(t, a, b, off, next)
			for _, s := range []*Store{a, b, off, next} {
				if diff := cmp.Diff(operators, s.List(Ban), comparePrefixes); diff != "" {
					t.Errorf("(-operator's +got):\n%s", diff)
				}
				if changed, newer := merge(t, s, a.Entries()); changed != 0 || len(newer) != 0 {
					t.Errorf("they do not agree: %d, %v", changed, newer)
				}
			}
			unban(t, off, offender.String()+"/32")
			exchange(t, a, b, off, next)
			if lookup(a, offender.String()) != "" {
				t.Error("an operator could not end it")
			}
		})
	}
}

// TestPunishedInANetwork holds that a network cannot spend what belongs to all.
func TestPunishedInANetwork(t *testing.T) {
	for name, address := range map[string]func(network, i int) netip.Addr{
		"IPv4": func(network, i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, byte(network), byte(i)}) },
		"IPv6": func(network, i int) netip.Addr {
			return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, byte(network), byte(i), 15: byte(i)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			s, _ := openAt(t, "", c.now)
			count := func(outcome Outcome, done []Punished) (n int) {
				for _, d := range done {
					if d.Outcome == outcome {
						n++
					}
				}
				return n
			}
			var one []netip.Addr
			for i := range 100 {
				one = append(one, address(1, i))
			}
			done := slices.Concat(punish(t, s, one[:50]...), punish(t, s, one[50:]...))
			if banned, full := count(Banned, done), count(NetworkFull, done); banned != 64 || full != 36 {
				t.Errorf("%d banned, for %d there was no room", banned, full)
			}
			if done := punish(t, s, address(2, 1)); done[0].Outcome != Banned {
				t.Errorf("another network: %v", done)
			}
			for range 3 { // what is over leaves room, and is remembered within the bound
				c.add(25 * time.Hour)
				s.expire(false)
				if banned := count(Banned, punish(t, s, one[36:]...)); banned != 64 {
					t.Errorf("a day later: %d banned", banned)
				}
			}
			c.add(25 * time.Hour)
			s.expire(false)
			if all := known(s); all.live.len() != 0 || all.tombstones.len() != 65 {
				t.Errorf("%d in force, %d remembered", all.live.len(), all.tombstones.len())
			}
		})
	}
}

// TestPunishedInAll: there is room for operators' entries, whatever rules ban.
func TestPunishedInAll(t *testing.T) {
	c := newClock()
	s, _ := openAt(t, "", c.now)
	var many []netip.Addr
	for i := range MaxPunished + 10 {
		many = append(many, netip.AddrFrom4([4]byte{100 + byte(i>>14), byte(i >> 6), byte(i << 2), 1}))
	}
	slices.SortFunc(many, netip.Addr.Compare)
	if many = slices.Compact(many); len(many) != MaxPunished+10 {
		t.Fatalf("%d addresses", len(many))
	}
	done := punish(t, s, many...)
	if done[MaxPunished-1].Outcome != Banned || done[MaxPunished].Outcome != Full || s.Len(Ban) != MaxPunished {
		t.Errorf("%d banned", s.Len(Ban))
	}
	if by := s.CountBy(); by != [NumBy]int{Rule: MaxPunished} {
		t.Errorf("counted %v", by)
	}
	put(t, s, prefix, 0)
	c.add(time.Hour)
	punish(t, s, netip.MustParseAddr("192.0.2.1"))
	c.add(time.Hour)
	s.expire(false)
	all := known(s)
	if all.tombstones.len() != MaxPunished {
		t.Errorf("%d remembered", all.tombstones.len())
	}
	if _, found := all.tombstones.get(Ban, netip.MustParsePrefix("192.0.2.1/32")); !found {
		t.Error("the last one is not remembered")
	}

	// what is not remembered here is not taken over again and again
	other, _ := openAt(t, "", c.now)
	other.mu.Lock()
	for i := range MaxPunished + 10 {
		e := sentence(many[i]).entry(netip.PrefixFrom(many[i], 32), stored{}, c.now().Add(-3*time.Hour))
		*other.tombstones.of(Ban) = append(*other.tombstones.of(Ban), e)
	}
	other.mu.Unlock()
	s.Merge(other.Entries())
	before := known(s)
	s.Merge(other.Entries())
	if after := known(s); &after.tombstones[0][0] != &before.tombstones[0][0] {
		t.Error("taken over again")
	}
}

// TestPunishedReachTheDisk: the file is written once for all that comes within a second, and when the store is closed.
func TestPunishedReachTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "bans.json")
		s := open(t, path)
		lines := func() int {
			text, _ := os.ReadFile(path)
			return strings.Count(string(text), `"by":"rule"`)
		}
		for i := range 19 {
			punish(t, s, netip.AddrFrom4([4]byte{203, 0, byte(i), 1}))
			if n := lines(); n != 0 && i < 10 || i > 10 && n != 10 && n != 11 {
				t.Fatalf("%d on disk after %d, in %d ms", n, i+1, i*100)
			}
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if err := s.Close(); err != nil || lines() != 19 {
			t.Errorf("%d on disk, %v", lines(), err)
		}
	})
}

// TestPunishConverges proves that instances agree in the end, whoever bans and unbans, and that no rule ends an operator's
// ban.
func TestPunishConverges(t *testing.T) {
	clients := []netip.Addr{offender, netip.MustParseAddr("198.51.100.8")}
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		stores := make([]*Store, 3)
		for i := range stores {
			var err error
			if stores[i], err = Open("", Options{now: c.now}); err != nil {
				t.Fatal(err)
			}
			defer stores[i].Close()
		}
		forever := map[netip.Prefix]bool{} // banned by an operator since nobody unbanned it
		var messages [][]replica.Entry
		store := func(t *rapid.T) *Store { return rapid.SampledFrom(stores).Draw(t, "store") }
		client := func(t *rapid.T) netip.Addr { return rapid.SampledFrom(clients).Draw(t, "client") }
		t.Repeat(map[string]func(*rapid.T){
			"punish": func(t *rapid.T) {
				c.add(time.Millisecond)
				if _, err := store(t).Punish([]Sentence{sentence(client(t))}); err != nil {
					t.Fatal(err)
				}
			},
			"ban": func(t *rapid.T) {
				c.add(time.Second)
				e := Entry{Kind: Ban, Prefix: netip.PrefixFrom(client(t), 32)}
				if _, err := store(t).Add(e); err != nil {
					t.Fatal(err)
				}
				forever[e.Prefix] = true
			},
			"unban": func(t *rapid.T) {
				c.add(time.Second)
				p := netip.PrefixFrom(client(t), 32)
				if _, err := store(t).Remove(Ban, p); err != nil {
					t.Fatal(err)
				}
				delete(forever, p)
			},
			"later": func(*rapid.T) { c.add(10 * time.Minute) },
			"send":  func(t *rapid.T) { messages = append(messages, store(t).Entries()) },
			"receive": func(t *rapid.T) {
				if len(messages) > 0 {
					store(t).Merge(rapid.SampledFrom(messages).Draw(t, "message"))
				}
			},
		})
		for range 3 {
			for _, from := range stores {
				for _, to := range stores {
					to.Merge(from.Entries())
				}
			}
		}
		for _, s := range stores {
			s.expire(false)
		}
		for i, s := range stores {
			if diff := cmp.Diff(stores[0].List(Ban), s.List(Ban), comparePrefixes); diff != "" {
				t.Fatalf("instance %d (-first +this):\n%s", i, diff)
			}
			for p := range forever {
				all := known(s)
				e, found := all.live.get(Ban, p)
				if !found || e.Cause.By != Operator {
					t.Fatalf("instance %d: a rule ended the operator's ban of %s: %v", i, p, e)
				}
			}
		}
	})
}

// BenchmarkPunish is a change of many bans at once, and of one, with 10,000 in force and as many remembered.
func BenchmarkPunish(b *testing.B) {
	for _, n := range []int{1, 75} { // in 75 ms, at 1,000 a second
		b.Run(fmt.Sprintf("%d into 10000", n), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "bans.json"))
			now := time.Now()
			var all state
			for i := range 20_000 {
				client := netip.AddrFrom4([4]byte{100, byte(i >> 6), byte(i << 2), 1})
				e := sentence(client).entry(netip.PrefixFrom(client, 32), stored{}, now)
				if i%2 == 0 {
					e.Expires = now.Add(-time.Minute).UTC().Truncate(time.Second)
					*all.tombstones.of(Ban) = append(*all.tombstones.of(Ban), e)
				} else {
					*all.live.of(Ban) = append(*all.live.of(Ban), e)
				}
			}
			s.mu.Lock()
			s.publish(all)
			s.mu.Unlock()
			for i := 0; b.Loop(); i++ {
				list := make([]Sentence, n)
				for j := range list {
					list[j] = sentence(netip.AddrFrom4([4]byte{172, byte(i), byte(j), 1}))
				}
				if _, err := s.Punish(list); err != nil {
					b.Fatal(err)
				}
				if i%64 == 63 {
					b.StopTimer()
					s.mu.Lock()
					s.publish(all)
					s.mu.Unlock()
					b.StartTimer()
				}
			}
		})
	}
}
