package quota

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/worth"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// whims is a service, of one address or of several in a request, that answers as the list says, over and over.
type whims struct {
	batch int
	list  []string

	mu    sync.Mutex
	next  int
	asked int // addresses
}

func (s *whims) Profile() reputation.Profile { return reputation.Profile{Name: "a", Batch: s.batch} }

func (s *whims) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	answers, err := s.CheckAll(ctx, q.Key, []netip.Addr{q.Addr})
	if err != nil {
		return reputation.Report{}, err
	}
	return answers[0].Report, answers[0].Err
}

func (s *whims) CheckAll(ctx context.Context, _ string, addrs []netip.Addr) ([]reputation.Answer, error) {
	s.mu.Lock()
	whim := s.list[s.next%len(s.list)]
	s.next++
	if whim != "unsupported" {
		s.asked += len(addrs)
	}
	s.mu.Unlock()
	switch whim {
	case "slow":
		time.Sleep(time.Second)
	case "hangs":
		<-ctx.Done()
		return nil, ctx.Err()
	case "ignores its context":
		time.Sleep(time.Minute)
	case "panics":
		panic("a whim")
	case "unsupported":
		return nil, reputation.ErrUnsupported
	case "fails":
		return nil, errors.New("a whim")
	case "throttles":
		return nil, &reputation.ThrottledError{RetryAfter: time.Second}
	case "refuses":
		return nil, reputation.ErrRefused
	}
	return make([]reputation.Answer, len(addrs)), nil
}

// TestNothingIsLeft proves that in the end no call is under way, reserved or waiting, and that as many are counted as the
// service was asked about, whatever it does and whoever leaves. Of those who leave, the call may be counted although it
// was not made.
func TestNothingIsLeft(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := &whims{
			batch: rapid.SampledFrom([]int{0, 3, 1000}).Draw(r, "batch"),
			list: rapid.SliceOfN(rapid.SampledFrom([]string{
				"answers", "slow", "hangs", "ignores its context", "panics", "unsupported", "fails", "throttles", "refuses",
			}), 1, 5).Draw(r, "whims"),
		}
		terms := Terms{
			Concurrency:  rapid.SampledFrom([]int{1, 4, 1000}).Draw(r, "concurrency"),
			Timeout:      rapid.SampledFrom([]time.Duration{time.Millisecond, 2 * time.Second}).Draw(r, "timeout"),
			Windows:      windows(rapid.SampledFrom([]string{"1/day", "10/day", "11/day", "1000/day"}).Draw(r, "quota"), "40/minute"),
			Burst:        rapid.SampledFrom([]float64{.25, 1}).Draw(r, "burst"),
			NetworkShare: rapid.SampledFrom([]float64{.02, 1}).Draw(r, "share"),
			Rate: rapid.SampledFrom([]rate.Rate{
				{}, {Events: 1, Per: 2 * time.Second}, {Events: 5, Per: time.Second},
			}).Draw(r, "rate"),
		}
		others := time.Duration(rapid.SampledFrom([]int{0, 1000, 4000}).Draw(r, "others use the rate for")) * time.Millisecond
		type caller struct {
			at, leaves time.Duration
			addr       netip.Addr
			bid        worth.Bid
			how        string
		}
		callers := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) caller {
			return caller{
				at:     time.Duration(rapid.IntRange(0, 5000).Draw(r, "at")) * time.Millisecond,
				leaves: time.Duration(rapid.SampledFrom([]int{0, 1, 1500, 1e6}).Draw(r, "leaves")) * time.Millisecond,
				addr:   of(rapid.IntRange(0, 20).Draw(r, "network"), rapid.IntRange(0, 3).Draw(r, "host")),
				bid:    rapid.SampledFrom([]worth.Bid{worthOf(.1), worthOf(1), operator}).Draw(r, "bid"),
				how:    rapid.SampledFrom([]string{"check", "reserve", "cancel"}).Draw(r, "how"),
			}
		}), 1, 40).Draw(r, "callers")
		var problems []string
		synctest.Test(t, func(t *testing.T) {
			counts := &pacedLedger{Local: memory(), from: time.Now().Add(others)}
			g := New("a", s, terms, NewBudget(), counts, quiet())
			var all sync.WaitGroup
			left := 0
			for _, c := range callers {
				if c.leaves < 1e6*time.Millisecond {
					left++
				}
				all.Go(func() {
					time.Sleep(c.at)
					ctx, cancel := context.WithTimeout(context.Background(), c.leaves)
					defer cancel()
					q := reputation.Query{Addr: c.addr}
					if c.how == "check" {
						_, _ = g.Check(ctx, q)
						return
					}
					if call, _, _ := g.Reserve("", c.addr, c.bid, time.Now()); call == nil {
						return
					} else if c.how == "cancel" {
						call.Cancel()
					} else {
						_, _ = call.Check(ctx, q)
					}
				})
			}
			all.Wait()
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if st := g.Status(); st.InFlight != 0 || g.budget.uncounted.Load() != 0 {
				problems = append(problems, "calls are under way or reserved")
			}
			if b := g.batches; b != nil && (b.places != 0 || b.underWay != 0 || len(b.waiting) != 0 || len(b.taking) != 0) {
				problems = append(problems, "places are taken")
			}
			used := g.Status().Windows[0].Used
			if used < s.asked || used > s.asked+left {
				r.Logf("%d counted, %d asked about, %d callers may have left", used, s.asked, left)
				problems = append(problems, "the count is wrong")
			}
		})
		if len(problems) > 0 {
			r.Fatal(problems)
		}
	})
}
