package lookup

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// noting is a provider that notes which addresses it is told.
type noting struct {
	reputation.Provider
	mu   sync.Mutex
	told []string
}

func (n *noting) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	n.mu.Lock()
	n.told = append(n.told, q.Addr.String())
	n.mu.Unlock()
	return n.Provider.Check(ctx, q)
}

func TestWhatIsSent(t *testing.T) {
	for _, tc := range []struct {
		network bool
		addr    string
		want    string
	}{
		{false, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6"},
		{true, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"},
		{true, "203.0.113.7", "203.0.113.7"},
	} {
		synctest.Test(t, func(t *testing.T) {
			told := &noting{Provider: after(time.Millisecond, abusive, nil)}
			p := asked("p", told)
			p.SendNetwork = tc.network
			e := newEngine(t, Config{Providers: []Provider{p}})
			v := e.Lookup(t.Context(), netip.MustParseAddr(tc.addr), time.Second)
			if !slices.Equal(told.told, []string{tc.want}) || v.Status != reputation.Fresh || v.Score == 0 {
				t.Errorf("network %t, %s: told %s, verdict %+v", tc.network, tc.addr, told.told, v)
			}
		})
	}
}

// A provider that may not know of listed addresses is not asked about them, not when an operator asks, and is not missing
// either. What it has said before counts until it is out of date.
func TestListedAddressesAreHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists, meanings := someLists()
		shy, open := after(time.Millisecond, abusive, nil), after(time.Millisecond, clean, nil)
		p := asked("shy", shy)
		p.UnlessListed = true
		e := newEngine(t, Config{Lists: lists, Meanings: meanings, Providers: []Provider{p, asked("open", open)}})

		listed, free := netip.MustParseAddr("192.0.2.3"), netip.MustParseAddr("192.0.2.0")
		v := e.Lookup(t.Context(), listed, time.Second)
		e.Refresh(t.Context(), listed)
		if shy.calls.Load() != 0 || open.calls.Load() != 2 || v.Status != reputation.Fresh || v.Coverage != 1 {
			t.Errorf("listed: asked %d and %d times; verdict %+v", shy.calls.Load(), open.calls.Load(), v)
		}
		if x := e.Explain(listed); !x.Answers[0].HeldBack || x.Answers[1].HeldBack {
			t.Errorf("explained as %+v", x.Answers)
		}
		if e.Lookup(t.Context(), free, time.Second); shy.calls.Load() != 1 {
			t.Errorf("on no list: asked %d times", shy.calls.Load())
		}

		lists.addrs[free] = lists.addrs[listed]
		other := &fixedLists{lists.addrs, lists.members, nil} // the lists have changed
		e.lists = listing.NewMatcher(other, meanings)
		if v = e.Lookup(t.Context(), free, time.Second); len(v.Reasons) != 3 || v.Coverage != 1 {
			t.Errorf("listed later: verdict %+v; want what was answered before to count", v)
		}
		time.Sleep(30 * time.Hour)
		e.Lookup(t.Context(), free, time.Second) // the other provider is asked again, in the background
		time.Sleep(time.Second)
		v = e.Lookup(t.Context(), free, time.Second)
		if shy.calls.Load() != 1 || v.Status != reputation.Fresh || len(v.Reasons) != 2 {
			t.Errorf("with an old answer: asked %d times, verdict %+v", shy.calls.Load(), v)
		}
	})
}
