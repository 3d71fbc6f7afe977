package ban

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

// Everybody changes, tells and hears at once.
func TestReplicasAtOnce(t *testing.T) {
	const n, prefixes, rounds = 3, 5, 150
	stores := make([]*Store, n)
	for i := range stores {
		stores[i] = open(t, "")
	}
	stop := make(chan struct{})
	var changing, telling sync.WaitGroup
	for i, s := range stores {
		changing.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 0))
			for range rounds {
				p := netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(rng.IntN(prefixes))}), 32)
				var err error
				if rng.IntN(2) == 0 {
					_, err = s.Add(Entry{Kind: Ban, Prefix: p, Reason: fmt.Sprint(i)})
				} else {
					_, err = s.Remove(Ban, p)
				}
				if err != nil {
					t.Error(err)
				}
				s.Find(p.Addr())
			}
		})
		telling.Go(func() {
			for {
				changed := s.Changed()
				select {
				case <-changed:
				case <-stop:
					return
				}
				for _, other := range stores {
					_, newer, err := other.merge(s.Entries())
					if err != nil {
						t.Error(err)
					}
					if _, _, err = s.merge(newer); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	changing.Wait()
	close(stop)
	telling.Wait()
	exchange(t, stores...)
	for _, s := range stores[1:] {
		if diff := cmp.Diff(stores[0].Entries(), s.Entries()); diff != "" {
			t.Error(diff)
		}
	}
	if len(stores[0].Entries()) != prefixes {
		t.Errorf("%d prefixes are known, want %d", len(stores[0].Entries()), prefixes)
	}
}

// Requests see all of a merge or nothing of it: it is one step.
func TestMergeIsOneStep(t *testing.T) {
	const n = 300
	c := newClock()
	from, _ := openAt(t, "", c.now)
	fill(from, randomBans(n))
	unbanned := make([]replica.Entry, n)
	banned := from.Entries()
	for i, ch := range banned {
		e, err := parseEntry(ch, c.now())
		if err != nil {
			t.Fatal(err)
		}
		unbanned[i] = e.tombstone(c.now().UnixMilli()).entry()
	}
	s, _ := openAt(t, "", c.now)
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := s.Len(Ban); got != 0 && got != n {
					t.Errorf("%d entries are seen", got)
					return
				}
			}
		})
	}
	for i := range 5 {
		s.mu.Lock()
		s.tombstones = entries{} // as if it was never heard of
		s.mu.Unlock()
		if changed, _ := merge(t, s, banned); changed != n {
			t.Errorf("%d: %d changed", i, changed)
		}
		if changed, _ := merge(t, s, unbanned); changed != n {
			t.Errorf("%d: %d changed", i, changed)
		}
	}
	close(stop)
	readers.Wait()
}
