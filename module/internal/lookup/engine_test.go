package lookup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixedLists are lists written as maps. Set 0 is nobody; set i+1 is list i alone.
type fixedLists struct {
	addrs    map[netip.Addr]uint32
	members  [][]uint16
	unloaded map[int]bool
}

func (l *fixedLists) Current() listing.Contents     { return l }
func (l *fixedLists) Lookup(addr netip.Addr) uint32 { return l.addrs[addr] }
func (l *fixedLists) Members(set uint32) []uint16   { return l.members[set] }
func (l *fixedLists) Named(uint32, string) []uint16 { return nil }
func (l *fixedLists) Names() bool                   { return false }
func (l *fixedLists) Sets() int                     { return len(l.members) }
func (l *fixedLists) Loaded(list int) bool          { return !l.unloaded[list] }
func (l *fixedLists) Content(int) string            { return "" }

// mapMemory is a memory without any cleverness.
type mapMemory struct {
	mu      sync.Mutex
	records map[record.Key]record.Record
}

func (m *mapMemory) Get(key record.Key, into *record.Record) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec, ok := m.records[key]
	*into = rec
	return ok
}

func (m *mapMemory) Update(key record.Key, change func(*record.Record)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := m.records[key]
	change(&rec)
	if m.records == nil {
		m.records = make(map[record.Key]record.Record)
	}
	m.records[key] = rec
}

func (m *mapMemory) Delete(key record.Key) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.records[key]
	delete(m.records, key)
	return ok
}

type countingObserver struct {
	origins [reputation.NumOrigins]atomic.Int64
}

func (o *countingObserver) CountLookup(origin reputation.Origin)           { o.origins[origin].Add(1) }
func (o *countingObserver) ObserveLookup(reputation.Origin, time.Duration) {}

// provideFunc is a provider that is a function, and counts its calls.
type provideFunc struct {
	calls atomic.Int64
	check func(context.Context, netip.Addr) (reputation.Report, error)

	covers reputation.Families
}

func (p *provideFunc) Profile() reputation.Profile {
	return reputation.Profile{Name: "test", Covers: p.covers}
}

func (p *provideFunc) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	p.calls.Add(1)
	return p.check(ctx, q.Addr)
}

func after(d time.Duration, r reputation.Report, err error) *provideFunc {
	return &provideFunc{check: func(ctx context.Context, _ netip.Addr) (reputation.Report, error) {
		select {
		case <-time.After(d):
			return r, err
		case <-ctx.Done():
			return reputation.Report{}, ctx.Err()
		}
	}}
}

var (
	client  = netip.MustParseAddr("203.0.113.10")
	abusive = reputation.Report{
		Severity: 1, Confidence: .9, Categories: reputation.CategoriesOf(reputation.Abuse),
		Facts: reputation.Facts{Country: "NL", ASN: 64500},
	}
	clean = reputation.Report{Severity: -1, Confidence: .5}
)

func asked(name string, p reputation.Provider) Provider {
	source := score.Source{Name: name, Trust: 1, Weight: 32, GoodWeight: 4, SelfAged: true}
	return Provider{Source: source, Provider: p, ListedTTL: 6 * time.Hour, CleanTTL: 24 * time.Hour}
}

func newEngine(t testing.TB, c Config) *Engine {
	t.Helper()
	if c.Memory == nil {
		c.Memory = new(mapMemory)
	}
	if c.Observer == nil {
		c.Observer = new(countingObserver)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		e.Close(ctx)
	})
	return e
}

func TestAnswerWithinWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, Config{Providers: []Provider{asked("p", after(10*time.Millisecond, abusive, nil))}})
		v := e.Lookup(t.Context(), client, 25*time.Millisecond)
		if v.Status != reputation.Fresh || v.Origin != reputation.OriginProvider || v.Score < 85 || v.Score > 92 {
			t.Errorf("got %+v; want a fresh verdict of about 88 from the provider", v)
		}
		if v.Facts.Country != "NL" || v.Facts.ASN != 64500 || v.Coverage != 1 {
			t.Errorf("got facts %+v, coverage %v", v.Facts, v.Coverage)
		}
	})
}

func TestNeverWaitsLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := after(time.Second, abusive, nil)
		e := newEngine(t, Config{Providers: []Provider{asked("p", p)}})
		for _, wait := range []time.Duration{0, 25 * time.Millisecond} {
			start := time.Now()
			v := e.Lookup(t.Context(), client, wait)
			if took := time.Since(start); took != wait {
				t.Errorf("wait %s: took %s", wait, took)
			}
			if v.Status != reputation.Pending || v.Scored {
				t.Errorf("wait %s: got %+v; want pending and no score", wait, v)
			}
		}
		time.Sleep(2 * time.Second)
		if v := e.Lookup(t.Context(), client, 0); v.Status != reputation.Fresh || v.Origin != reputation.OriginMemory {
			t.Errorf("afterwards: got %+v; want the answer from memory", v)
		}
		if n := p.calls.Load(); n != 1 {
			t.Errorf("%d calls for three requests; want 1", n)
		}
	})
}

func TestRequestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := after(time.Second, clean, nil)
		e := newEngine(t, Config{Providers: []Provider{asked("p", p)}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		e.Lookup(ctx, client, time.Minute)
		time.Sleep(2 * time.Second)
		if v := e.Lookup(t.Context(), client, 0); v.Status != reputation.Fresh {
			t.Errorf("the look-up ended with the request that started it: %+v", v)
		}
	})
}

func TestThousandRequestsOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := after(10*time.Millisecond, abusive, nil)
		e := newEngine(t, Config{Providers: []Provider{asked("p", p)}})
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				if v := e.Lookup(t.Context(), client, 25*time.Millisecond); v.Status != reputation.Fresh {
					t.Errorf("got %s", v.Status)
				}
			})
		}
		all.Wait()
		if n := p.calls.Load(); n != 1 {
			t.Errorf("%d calls; want 1", n)
		}
	})
}

func TestIPv6IsRememberedByNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := after(0, clean, nil)
		e := newEngine(t, Config{Providers: []Provider{asked("p", p)}})
		for _, addr := range []string{"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"} {
			e.Lookup(t.Context(), netip.MustParseAddr(addr), time.Second)
		}
		if n := p.calls.Load(); n != 2 {
			t.Errorf("%d calls for two /64 networks; want 2", n)
		}
	})
}

func TestFailureIsNoVerdict(t *testing.T) {
	for name, failure := range map[string]error{
		"error":     errors.New("connection refused"),
		"timeout":   context.DeadlineExceeded,
		"throttled": &reputation.ThrottledError{RetryAfter: time.Hour},
		"refused":   reputation.ErrRefused,
		"garbage":   reputation.ErrBadAnswer,
		"quota":     &reputation.SkippedError{Result: reputation.ResultSkippedQuota},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := after(0, reputation.Report{}, failure)
				e := newEngine(t, Config{Providers: []Provider{asked("p", p)}})
				v := e.Lookup(t.Context(), client, time.Second)
				if v.Status != reputation.Unknown || v.Scored || v.Coverage != 0 || len(v.Reasons) != 0 {
					t.Errorf("never answered: got %+v; want unknown", v)
				}
				e.Lookup(t.Context(), client, time.Second)
				if n := p.calls.Load(); n != 1 {
					t.Errorf("asked %d times within a minute; want 1", n)
				}
				time.Sleep(2 * time.Minute)
				p.check = after(0, abusive, nil).check
				if v := e.Lookup(t.Context(), client, time.Second); v.Status != reputation.Fresh || v.Score < 85 {
					t.Errorf("recovered: got %+v", v)
				}
				p.check = after(0, reputation.Report{}, failure).check
				time.Sleep(7 * time.Hour)
				e.Lookup(t.Context(), client, time.Second)
				synctest.Wait()
				v = e.Lookup(t.Context(), client, time.Second)
				if v.Status != reputation.Stale || !v.Scored || v.Score < 80 || v.Score > 88 {
					t.Errorf("away again: got %+v; want the last good answer, stale and a little decayed", v)
				}
			})
		})
	}
}

func TestStaleAnswersAreServedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := after(0, abusive, nil)
		e := newEngine(t, Config{Providers: []Provider{asked("p", p)}})
		e.Lookup(t.Context(), client, time.Second)
		p.check = after(time.Second, clean, nil).check
		time.Sleep(7 * time.Hour)
		start := time.Now()
		v := e.Lookup(t.Context(), client, time.Minute)
		if took := time.Since(start); took != 0 || v.Status != reputation.Stale {
			t.Errorf("took %s, %s; want the stale answer at once", took, v.Status)
		}
	})
}

func TestOneOfTwoProvidersFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, Config{Providers: []Provider{
			asked("good", after(0, abusive, nil)),
			asked("bad", after(0, reputation.Report{}, errors.New("away"))),
		}})
		v := e.Lookup(t.Context(), client, time.Second)
		if v.Status != reputation.Partial || v.Coverage != 0.5 || v.Score < 85 {
			t.Errorf("got %+v; want a partial verdict of half the coverage", v)
		}
	})
}

func TestBoundOnLookupsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := after(time.Second, clean, nil)
		e := newEngine(t, Config{Providers: []Provider{asked("p", p)}, MaxInFlight: 10})
		addr := client
		for range 100 {
			addr = addr.Next()
			start := time.Now()
			v := e.Lookup(t.Context(), addr, 0)
			if time.Since(start) != 0 || v.Scored {
				t.Fatalf("got %+v", v)
			}
		}
		synctest.Wait()
		if n := p.calls.Load(); n != 10 {
			t.Errorf("%d look-ups under way; want 10", n)
		}
	})
}

func TestReservedAddressesAreNeverSent(t *testing.T) {
	p := after(0, abusive, nil)
	e := newEngine(t, Config{Providers: []Provider{asked("p", p)}})
	for _, addr := range []string{"10.0.0.1", "127.0.0.1", "100.64.0.1", "169.254.1.1", "224.0.0.1", "::1", "fe80::1", "fd00::1", "ff02::1"} {
		if v := e.Lookup(t.Context(), netip.MustParseAddr(addr), time.Second); v.Status != reputation.Exempt {
			t.Errorf("%s: got %s; want exempt", addr, v.Status)
		}
	}
	if p.calls.Load() != 0 {
		t.Error("the provider was asked")
	}
}

// someLists has addresses on feeds of different kinds, a deny list and an exempt list.
func someLists() (*fixedLists, []listing.List) {
	meanings := []listing.List{
		{Kind: listing.Exempt},
		{Kind: listing.Deny},
		{Source: score.Source{Name: "weak", Trust: 1, Weight: 20}, Confidence: .6, Categories: reputation.CategoriesOf(reputation.Scanner)},
		{Source: score.Source{Name: "drop", Trust: 1, Weight: 34}, Confidence: .95, Categories: reputation.CategoriesOf(reputation.Hijacked)},
		{Source: score.Source{Name: "tor", Trust: 1, Weight: 8}, Confidence: .95, Nature: reputation.Nature{}.With(reputation.NatureTor, true)},
	}
	lists := &fixedLists{
		members: [][]uint16{nil, {0}, {1}, {2}, {3}, {2, 4}, {0, 1, 3}, {1, 3}},
		addrs:   make(map[netip.Addr]uint32),
	}
	for set := range lists.members {
		lists.addrs[netip.AddrFrom4([4]byte{192, 0, 2, byte(set)})] = uint32(set)
	}
	return lists, meanings
}

func TestLists(t *testing.T) {
	lists, meanings := someLists()
	e := newEngine(t, Config{Lists: lists, Meanings: meanings})
	for _, tc := range []struct {
		name     string
		addr     string
		status   reputation.Status
		min, max uint8
		reasons  []string
	}{
		{"nowhere", "192.0.2.0", reputation.Fresh, 0, 1, nil},
		{"exempt", "192.0.2.1", reputation.Exempt, 0, 0, nil},
		{"denied", "192.0.2.2", reputation.Fresh, 100, 100, []string{"deny"}},
		{"one feed", "192.0.2.3", reputation.Fresh, 10, 20, []string{"weak"}},
		{"a strong feed", "192.0.2.4", reputation.Fresh, 94, 95, []string{"drop"}},
		{"feed and nature", "192.0.2.5", reputation.Fresh, 40, 60, []string{"weak", "tor"}},
		{"exempt beats deny and feeds", "192.0.2.6", reputation.Exempt, 0, 0, nil},
		{"deny beats feeds", "192.0.2.7", reputation.Fresh, 100, 100, []string{"deny"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := e.Lookup(t.Context(), netip.MustParseAddr(tc.addr), 0)
			if v.Status != tc.status || v.Score < tc.min || v.Score > tc.max || v.Scored == (tc.status == reputation.Exempt) {
				t.Errorf("got %+v", v)
			}
			if len(v.Reasons) != len(tc.reasons) {
				t.Fatalf("got reasons %+v; want %v", v.Reasons, tc.reasons)
			}
			for i, r := range v.Reasons {
				if r.Source != tc.reasons[i] {
					t.Errorf("reason %d is %s; want %s", i, r.Source, tc.reasons[i])
				}
			}
		})
	}
}

func TestFeedThatWasNeverFetchedLowersCoverage(t *testing.T) {
	lists, meanings := someLists()
	lists.unloaded = map[int]bool{3: true}
	e := newEngine(t, Config{Lists: lists, Meanings: meanings})
	v := e.Lookup(t.Context(), netip.MustParseAddr("192.0.2.0"), 0)
	if v.Status != reputation.Partial || v.Coverage <= .6 || v.Coverage >= .7 {
		t.Errorf("got %+v; want partial with two thirds of the coverage", v)
	}
	lists.unloaded = map[int]bool{2: true, 3: true, 4: true}
	e = newEngine(t, Config{Lists: lists, Meanings: meanings})
	if v := e.Lookup(t.Context(), netip.MustParseAddr("192.0.2.0"), 0); v.Status != reputation.Unknown || v.Scored {
		t.Errorf("no list loaded: got %+v; want unknown", v)
	}
}

func TestListsSaveQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists, meanings := someLists()
		p := after(0, clean, nil)
		e := newEngine(t, Config{Lists: lists, Meanings: meanings, Providers: []Provider{asked("p", p)}})
		for _, settled := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.4"} {
			e.Lookup(t.Context(), netip.MustParseAddr(settled), time.Second)
		}
		if n := p.calls.Load(); n != 0 {
			t.Errorf("asked %d times although lists had answered", n)
		}
		e.Refresh(t.Context(), netip.MustParseAddr("192.0.2.4"))
		v := e.Lookup(t.Context(), netip.MustParseAddr("192.0.2.4"), time.Second)
		if p.calls.Swap(0) != 1 || len(v.Reasons) != 2 || v.Status != reputation.Fresh || v.Coverage != 1 {
			t.Errorf("settled by a list: got %+v; want what is remembered of the provider to count, too", v)
		}
		time.Sleep(30 * time.Hour)
		if v = e.Lookup(t.Context(), netip.MustParseAddr("192.0.2.4"), time.Second); p.calls.Load() != 0 || v.Status != reputation.Fresh {
			t.Errorf("settled, with an old answer: %d calls, got %s", p.calls.Load(), v.Status)
		}
		v = e.Lookup(t.Context(), netip.MustParseAddr("192.0.2.3"), time.Second)
		if p.calls.Load() != 1 || len(v.Reasons) != 2 || v.Status != reputation.Fresh {
			t.Errorf("%d calls, got %+v; want list and provider together", p.calls.Load(), v)
		}
	})
}

type overrides map[netip.Addr][2]bool

func (o overrides) Lookup(addr netip.Addr) (banned, exempt bool) { return o[addr][0], o[addr][1] }

func TestOverrides(t *testing.T) {
	lists, meanings := someLists()
	drop := netip.MustParseAddr("192.0.2.4")
	e := newEngine(t, Config{Lists: lists, Meanings: meanings, Overrides: overrides{client: {true, false}, drop: {false, true}}})
	if v := e.Lookup(t.Context(), client, 0); v.Score != 100 || v.Reasons[0].Source != reputation.SourceBan {
		t.Errorf("banned: got %+v", v)
	}
	if v := e.Lookup(t.Context(), drop, 0); v.Status != reputation.Exempt {
		t.Errorf("exempted: got %+v", v)
	}
}

func TestPanickingProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, Config{Providers: []Provider{asked("p", &provideFunc{
			check: func(context.Context, netip.Addr) (reputation.Report, error) { panic("boom") },
		})}})
		if v := e.Lookup(t.Context(), client, time.Second); v.Status != reputation.Unknown {
			t.Errorf("got %+v", v)
		}
	})
}

func TestCloseLetsLookupsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, Config{Providers: []Provider{asked("p", after(time.Second, abusive, nil))}})
		e.Lookup(t.Context(), client, 0)
		if !e.Explain(client).Running || e.Explain(client.Next()).Running {
			t.Error("it does not tell about whom the provider is being asked")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		e.Close(ctx)
		if x := e.Explain(client); !x.Answers[0].Answered || x.Running {
			t.Error("the answer under way was thrown away")
		}
		if v := e.Lookup(t.Context(), client.Next(), time.Second); v.Status != reputation.Unknown {
			t.Errorf("after Close: got %+v; want no new look-up", v)
		}
	})
}

func TestExplainRefreshForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := after(0, abusive, nil)
		e := newEngine(t, Config{Providers: []Provider{asked("p", p)}})
		if x := e.Explain(client); x.Verdict.Status != reputation.Unknown || p.calls.Load() != 0 {
			t.Errorf("explaining asked, or knew: %+v", x)
		}
		e.Refresh(t.Context(), client)
		x := e.Explain(client)
		if x.Verdict.Status != reputation.Fresh || len(x.Answers) != 1 || x.Answers[0].Severity != 1 {
			t.Errorf("got %+v", x)
		}
		found, _ := e.Forget(t.Context(), client)
		if again, _ := e.Forget(t.Context(), client); !found || again {
			t.Error("forget does not tell whether there was something")
		}
		if x := e.Explain(client); x.Verdict.Status != reputation.Unknown {
			t.Errorf("forgotten: got %+v", x)
		}
	})
}

// evictingMemory finds a record once.
type evictingMemory struct {
	mapMemory
	gets int
}

func (m *evictingMemory) Get(key record.Key, into *record.Record) bool {
	if m.gets++; m.gets > 1 {
		into.Reset()
		return false
	}
	return m.mapMemory.Get(key, into)
}

// A record that is evicted while a request waits is no reason to know less than before.
func TestEvictedWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := new(evictingMemory)
		first := asked("first", after(0, abusive, nil))
		newEngine(t, Config{Memory: &memory.mapMemory, Providers: []Provider{first}}).Refresh(t.Context(), client)
		e := newEngine(t, Config{Memory: memory, Providers: []Provider{first, asked("second", after(10*time.Millisecond, clean, nil))}})
		v := e.Lookup(t.Context(), client, 50*time.Millisecond)
		if !v.Scored || len(v.Reasons) == 0 || v.Reasons[0].Source != "first" {
			t.Errorf("got %+v; want what was known before", v)
		}
	})
}

func TestAnswersOfRemovedProvidersGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := new(mapMemory)
		before := newEngine(t, Config{Memory: memory, Providers: []Provider{asked("old", after(0, abusive, nil))}})
		before.Lookup(t.Context(), client, time.Second)
		now := newEngine(t, Config{Memory: memory, Providers: []Provider{asked("new", after(0, clean, nil))}})
		now.Lookup(t.Context(), client, time.Second)
		var rec record.Record
		memory.Get(record.KeyOf(client), &rec)
		if a := rec.Answers[0]; a.Source != record.IDOf("new") || rec.Answers[1].Source != 0 {
			t.Errorf("got %+v; want the new provider's answer in the first place, and no other", rec.Answers)
		}
	})
}

func TestProvidersMustBeTold(t *testing.T) {
	p := after(0, clean, nil)
	for name, list := range map[string][]Provider{
		"same name": {asked("p", p), asked("p", p)},
		"too many":  make([]Provider, record.MaxAnswers+1),
	} {
		if _, err := New(Config{Providers: list, Memory: new(mapMemory)}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestWarmLookupDoesNotAllocate(t *testing.T) {
	lists, meanings := someLists()
	e := newEngine(t, Config{Lists: lists, Meanings: meanings, Providers: []Provider{asked("p", after(0, reputation.Report{}, nil))}})
	for _, tc := range []struct{ name, addr string }{
		{"known and without points", "203.0.113.10"}, {"settled by a list", "192.0.2.4"}, {"exempt", "192.0.2.1"}, {"denied", "192.0.2.2"},
	} {
		addr := netip.MustParseAddr(tc.addr)
		e.Lookup(t.Context(), addr, time.Second)
		if n := testing.AllocsPerRun(100, func() { e.Lookup(t.Context(), addr, time.Second) }); n != 0 {
			t.Errorf("%s: %v allocations", tc.name, n)
		}
	}
}

// many returns an engine with n providers that have all reported an address, and how often each was asked.
func many(t testing.TB, n int) (*Engine, netip.Addr) {
	lists, meanings := someLists()
	var providers []Provider
	for i := range n {
		providers = append(providers, asked(fmt.Sprint("p", i), after(0, abusive, nil)))
	}
	e := newEngine(t, Config{Lists: lists, Meanings: meanings, Providers: providers, Memory: new(oneRecord)})
	addr := netip.MustParseAddr("203.0.113.10")
	e.Refresh(context.Background(), addr)
	return e, addr
}

// oneRecord is a memory that costs next to nothing and has room for one subject.
type oneRecord struct {
	mu  sync.Mutex
	rec record.Record
}

func (m *oneRecord) Get(_ record.Key, into *record.Record) bool {
	*into = m.rec
	return true
}

func (m *oneRecord) Update(_ record.Key, change func(*record.Record)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.rec)
}

func (m *oneRecord) Delete(record.Key) bool { return false }

// Providers without end take no allocation but that of the reasons, which the verdict carries away.
func TestManyProvidersDoNotAllocate(t *testing.T) {
	for _, n := range []int{1, 8, record.MaxAnswers} {
		e, addr := many(t, n)
		if v := e.Lookup(t.Context(), addr, 0); len(v.Reasons) != n || v.Coverage != 1 {
			t.Errorf("%d providers: %d reasons, coverage %v", n, len(v.Reasons), v.Coverage)
		}
		if allocs := testing.AllocsPerRun(100, func() { e.Lookup(t.Context(), addr, 0) }); allocs > 1 && !testenv.Race {
			t.Errorf("%d providers: %v allocations; want that of the reasons only", n, allocs)
		}
	}
}

func BenchmarkWarmLookup(b *testing.B) {
	for _, n := range []int{1, 4, 8, record.MaxAnswers} {
		b.Run(fmt.Sprintf("providers=%d", n), func(b *testing.B) {
			e, addr := many(b, n)
			b.ReportAllocs()
			for b.Loop() {
				e.Lookup(context.Background(), addr, 0)
			}
		})
	}
}

func TestNewestFactsOfProvidersWin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		later, newest := abusive, abusive
		later.Facts, newest.Facts = reputation.Facts{Country: "DE"}, reputation.Facts{Country: "FR"}
		e := newEngine(t, Config{Providers: []Provider{
			asked("newest", after(3*time.Second, newest, nil)), asked("first", after(0, abusive, nil)), asked("later", after(time.Second, later, nil)),
		}})
		if v := e.Lookup(t.Context(), client, 5*time.Second); v.Facts.Country != "FR" || v.Facts.ASN != 64500 {
			t.Errorf("got %+v; want the country of the last one and the network of the only one that knows it", v.Facts)
		}
	})
}
