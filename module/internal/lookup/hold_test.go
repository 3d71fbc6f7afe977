package lookup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// What a service knows can do more than move the score. Where it decides which lists and which evidence count, it is open.
func TestFactsAreOpen(t *testing.T) {
	relays := reputation.Capabilities{Natures: reputation.KindsOf(reputation.NatureRelay)}
	systems := reputation.Capabilities{ASN: true}
	known := sameFacts{ASN: 64500, Country: "NL", Nature: reputation.Nature{}.With(reputation.NatureRelay, false)}
	proxies := listing.List{Kind: listing.Feed, Source: score.Source{Name: "proxies", Trust: 1, Weight: 8}, Confidence: 1, Categories: reputation.CategoriesOf(reputation.Proxy)}
	listed := &fixedLists{addrs: map[netip.Addr]uint32{client: 1}, members: [][]uint16{nil, {0}}}
	nobody := &blockFrom{99} // whom no score of these sources can reach
	for name, tc := range map[string]struct {
		c    Config
		says reputation.Capabilities
		want bool
	}{
		"a relay is spared":           {Config{Lists: listed, Meanings: []listing.List{proxies}}, relays, true},
		"it is known that it is none": {Config{Lists: listed, Meanings: []listing.List{proxies}, Databases: known}, relays, false},
		"nothing would be spared":     {Config{}, relays, false},
		"a list of systems":           {Config{Lists: withNames{listed}, Meanings: []listing.List{proxies}}, systems, true},
		"of which it is none":         {Config{Lists: withNames{listed}, Meanings: []listing.List{proxies}, Databases: known}, systems, false},
		"no list of systems":          {Config{Lists: listed, Meanings: []listing.List{proxies}}, systems, false},
		"anything":                    {Config{Lists: listed, Meanings: []listing.List{proxies}}, reputation.Capabilities{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDiary()
				p := on(d, "p", 0, 10, clean, nil)
				p.Provider.(*service).says = tc.says
				tc.c.Providers = []Provider{p}
				e := newEngine(t, tc.c)
				e.LookupRequest(t.Context(), client, Request{Stakes: nobody}, time.Minute)
				if asked := d.text() != ""; asked != tc.want {
					t.Errorf("asked %t", asked)
				}
			})
		})
	}
}

// withNames are lists of which one names systems.
type withNames struct{ *fixedLists }

func (l withNames) Current() listing.Contents { return l }
func (l withNames) Names() bool               { return true }

// Neighbours of an autonomous system count once a service says which it is: the score may rise by their points, and may
// settle the matter.
func TestNeighboursAreForeseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for says, want := range map[reputation.Capabilities]bool{{ASN: true}: true, {Country: true}: false} {
			for _, stakes := range []Stakes{&blockFrom{90}, settling{}} { // 24 − 20 points are 72, with 10 more 96
				d := newDiary()
				p := on(d, "p", 0, 24, reputation.Report{Facts: reputation.Facts{ASN: 64500}}, nil)
				p.Provider.(*service).says = says
				e := newEngine(t, Config{Providers: []Provider{p}, Own: &sights{asns: map[uint32]float64{64500: 10}}})
				e.LookupRequest(t.Context(), client, Request{Stakes: stakes}, time.Minute)
				if asked := d.text() != ""; asked != want {
					t.Errorf("%+v, %T: asked %t", says, stakes, asked)
				}
			}
		}
	})
}

// settling are the stakes of a site to which it matters whether nobody is missed any more.
type settling struct{}

func (settling) Open(_ netip.Addr, _ *reputation.Verdict, p *Prospect) bool { return p.Settles }

// What is foreseen of those of whom nothing is known is found out once for each family.
func TestNothingIsKnown(t *testing.T) {
	both, four, six := on(newDiary(), "both", 0, 24, clean, nil), on(newDiary(), "4", 0, 12, clean, nil), on(newDiary(), "6", 0, 36, clean, nil)
	four.Provider, six.Provider = covering{four.Provider, reputation.IPv4}, covering{six.Provider, reputation.IPv6}
	e := newEngine(t, Config{Providers: []Provider{both, four, six}})
	for addr, missing := range map[netip.Addr][]*score.Source{
		client: {&both.Source, &four.Source}, netip.MustParseAddr("2001:db8::1"): {&both.Source, &six.Source},
	} {
		low, high := score.Bounds(nil, missing)
		want := Prospect{Low: score.Round(low), High: score.Round(high)}
		r := &records{}
		e.LookupRequest(t.Context(), addr, Request{Stakes: r}, 0)
		if r.last.Low != want.Low || r.last.High != want.High {
			t.Errorf("%s: %d to %d; want %d to %d", addr, r.last.Low, r.last.High, want.Low, want.High)
		}
	}
}

// covering is a provider of some addresses.
type covering struct {
	reputation.Provider
	families reputation.Families
}

func (c covering) Profile() reputation.Profile {
	p := c.Provider.Profile()
	p.Covers = c.families
	return p
}

// records are Stakes that keep what was last foreseen. Nothing is open.
type records struct{ last Prospect }

func (r *records) Open(_ netip.Addr, _ *reputation.Verdict, p *Prospect) bool {
	r.last = *p
	return false
}

// TestNobodyIsMissed proves that whoever was not asked could have changed nothing, whatever they would have said.
func TestNobodyIsMissed(t *testing.T) {
	spared := 0
	rapid.Check(t, func(t *rapid.T) {
		d, memory := newDiary(), new(mapMemory)
		stakes := &blockFrom{rapid.Uint8Range(1, 100).Draw(t, "block from")}
		own := &sights{clients: map[netip.Addr]float64{client: float64(rapid.IntRange(0, 25).Draw(t, "points"))}}
		report := func(name string) reputation.Report {
			return reported(float64(rapid.IntRange(-10, 10).Draw(t, name+" severity"))/10, float64(rapid.IntRange(0, 10).Draw(t, name+" confidence"))/10)
		}
		var providers []Provider
		for i := range rapid.IntRange(1, 5).Draw(t, "providers") {
			name := fmt.Sprintf("p%d", i)
			var err error
			if rapid.IntRange(0, 4).Draw(t, "fails") == 0 {
				err = errors.New("away")
			}
			p := on(d, name, rapid.SampledFrom([]float64{0, 1000, 33}).Draw(t, "calls"), float64(rapid.IntRange(0, 40).Draw(t, "weight")), report(name), err)
			p.Source.GoodWeight = float64(rapid.IntRange(0, 40).Draw(t, "good weight"))
			p.Source.Group = rapid.SampledFrom([]string{"", "g"}).Draw(t, "group")
			p.Provider.(*service).takes = 0
			providers = append(providers, p)
		}
		e := newEngineOf(t, Config{Providers: providers, Memory: memory, Own: own})
		v := e.LookupRequest(context.Background(), client, Request{Stakes: stakes}, time.Hour)
		x := e.ExplainRequest(client, Request{Stakes: stakes})
		at, any := time.Now(), false
		memory.Update(record.KeyOf(client), func(rec *record.Record) {
			for i, a := range x.Answers {
				if !a.Answered && !a.Failed {
					any = true
					if rapid.Bool().Draw(t, "answers after all") {
						rec.Learn(record.Pack(e.sources[i].id, report("late"), at, at.Add(time.Hour)), reputation.Facts{})
					}
				}
			}
		})
		if any {
			spared++
		}
		later := e.Explain(client).Verdict
		blocked := func(v *reputation.Verdict) bool { return v.Scored && v.Score >= stakes.score }
		if blocked(&v) != blocked(&later) {
			t.Fatalf("blocked from %d: %d (%s) became %d", stakes.score, v.Score, v.Status, later.Score)
		}
	})
	if spared == 0 {
		t.Error("everybody was always asked")
	}
}

// newEngineOf is newEngine within a property.
func newEngineOf(t *rapid.T, c Config) *Engine {
	c.Observer, c.Logger = new(countingObserver), slog.New(slog.DiscardHandler)
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(context.Background()) })
	return e
}

// heldBack is an engine that knows of a client what a cheap service says, and need not ask the dear one.
func heldBack(t testing.TB) *Engine {
	e := newEngine(t, Config{Providers: []Provider{on(newDiary(), "free", 0, 32, clean, nil), on(newDiary(), "dear", 33, 24, clean, nil)}})
	e.Memory.Update(record.KeyOf(client), func(rec *record.Record) {
		now := time.Now()
		rec.Learn(record.Pack(e.sources[0].id, clean, now, now.Add(time.Hour)), reputation.Facts{})
	})
	return e
}

// TestHeldBackDoesNotAllocate: reasons are all that a verdict takes along.
func TestHeldBackDoesNotAllocate(t *testing.T) {
	if testenv.Race {
		t.Skip("the race detector allocates")
	}
	e, r := heldBack(t), Request{Stakes: &blockFrom{85}}
	if n := testing.AllocsPerRun(100, func() {
		if v := e.LookupRequest(context.Background(), client, r, 0); v.Status != reputation.Fresh {
			t.Error(v.Status)
		}
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHeldBack(b *testing.B) {
	for name, stakes := range map[string]Stakes{"held back": &blockFrom{85}, "answered": nil} {
		b.Run(name, func(b *testing.B) {
			e := heldBack(b)
			if stakes == nil {
				e.Memory.Update(record.KeyOf(client), func(rec *record.Record) {
					now := time.Now()
					rec.Learn(record.Pack(e.sources[1].id, clean, now, now.Add(time.Hour)), reputation.Facts{})
				})
			}
			b.ReportAllocs()
			for b.Loop() {
				e.LookupRequest(context.Background(), client, Request{Stakes: stakes}, 0)
			}
		})
	}
}

// TestRefusedLookupWithStakes: while nobody may be asked, finding out what is open costs an unknown client no allocation.
func TestRefusedLookupWithStakes(t *testing.T) {
	if testenv.Race {
		t.Skip("the race detector allocates")
	}
	cheap, dear := on(newDiary(), "free", 0, 32, clean, nil), on(newDiary(), "dear", 33, 24, clean, nil)
	cheap.Provider, dear.Provider = refusing(cheap.Provider), refusing(dear.Provider)
	e, r := newEngine(t, Config{Providers: []Provider{cheap, dear}}), Request{Stakes: &blockFrom{60}}
	if n := testing.AllocsPerRun(100, func() { e.LookupRequest(context.Background(), client, r, 0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkRefusedLookupWithStakes is BenchmarkRefusedLookup on a site with rules.
func BenchmarkRefusedLookupWithStakes(b *testing.B) {
	for _, n := range []int{1, 12} {
		b.Run(fmt.Sprintf("providers=%d", n), func(b *testing.B) {
			var providers []Provider
			for i := range n {
				p := on(newDiary(), fmt.Sprint("p", i), 0, 24, clean, nil)
				p.Provider = refusing(p.Provider)
				providers = append(providers, p)
			}
			e, r := newEngine(b, Config{Providers: providers, Memory: new(oneRecord)}), Request{Stakes: &blockFrom{60}}
			b.ReportAllocs()
			for b.Loop() {
				e.LookupRequest(context.Background(), client, r, 0)
			}
		})
	}
}

// refusing puts a gate before a provider that is always closed.
func refusing(p reputation.Provider) reputation.Provider {
	return &counted{gated: gate(0, 4, nil), check: p}
}
