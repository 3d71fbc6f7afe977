package lookup

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/worth"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// divided is a provider that answers by a table, and about no more than so many addresses of each network.
type divided struct {
	*gated
	share int64

	mu    sync.Mutex
	calls map[netip.Prefix]int64
}

// divide returns a provider whose answer about an address is that of its last byte (IPv4), or the best.
func divide(share int64, answers ...reputation.Report) *divided {
	return &divided{share: share, calls: map[netip.Prefix]int64{}, gated: gate(1000, 100, &provideFunc{
		check: func(_ context.Context, addr netip.Addr) (reputation.Report, error) {
			if i := int(addr.As16()[15]); i < len(answers) {
				return answers[i], nil
			}
			return clean, nil
		},
	})}
}

func (d *divided) NetworkSpent(addr netip.Addr, _ time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls[reputation.Network(addr)] >= d.share
}

func (d *divided) Reserve(addr netip.Addr, bid worth.Bid, now time.Time) (Reservation, reputation.Result, bool) {
	if d.NetworkSpent(addr, now) && !bid.Operator {
		return nil, reputation.ResultSkippedQuota, false
	}
	r, why, waits := d.gated.Reserve(addr, bid, now)
	if r != nil {
		d.mu.Lock()
		d.calls[reputation.Network(addr)]++
		d.mu.Unlock()
	}
	return r, why, waits
}

// at returns an address of the network that the tests are about.
func at(last byte) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, last}) }

// spokenFor returns the verdict on an address of a network with so many answers, which have used its share.
func spokenFor(t *testing.T, c Config, wait time.Duration, answers ...reputation.Report) (*Engine, reputation.Verdict) {
	t.Helper()
	if c.Providers == nil {
		c.Providers = []Provider{asked("p", divide(int64(len(answers)), answers...))}
	}
	e := newEngine(t, c)
	for i := range answers {
		if v := e.Lookup(t.Context(), at(byte(i)), time.Second); v.Status != reputation.Fresh {
			t.Fatalf("address %d is %s", i, v.Status)
		}
		time.Sleep(time.Second)
	}
	time.Sleep(wait)
	return e, e.Lookup(t.Context(), at(200), time.Second)
}

// A network that has used its share is spoken for by the mean of its last four answers, only against it, and by little.
func TestTheNetworkSpeaks(t *testing.T) {
	bad := reputation.Report{Severity: 1, Confidence: 1, Categories: reputation.CategoriesOf(reputation.BotnetC2)}
	half := reputation.Report{Severity: .5, Confidence: 1}
	carrier := reputation.Facts{Nature: reputation.Nature{}.With(reputation.NatureMobile, true)}
	relay := reputation.Facts{Nature: reputation.Nature{}.With(reputation.NatureRelay, true)}
	for _, tc := range []struct {
		name    string
		c       Config
		wait    time.Duration
		answers []reputation.Report
		score   uint8
		reasons string
	}{
		{"all bad", Config{}, 0, []reputation.Report{bad, bad, bad, bad}, 16, "p 12.8"},
		{"one answer", Config{}, 0, []reputation.Report{bad}, 2, "p 3.2"},
		{"half of them", Config{}, 0, []reputation.Report{bad, clean, bad, clean}, 4, "p 6.4"},
		{"the newest is clean", Config{}, 0, []reputation.Report{bad, bad, bad, clean}, 8, "p 9.6"},
		{"half as bad", Config{}, 0, []reputation.Report{half, half, half, half}, 4, "p 6.4"},
		{"only the last four", Config{}, 0, []reputation.Report{bad, bad, bad, bad, bad, clean, clean, clean}, 2, "p 3.2"},
		{"good repute is nobody else's", Config{}, 0, []reputation.Report{clean, clean, clean, clean}, 0, ""},
		{"a day ago", Config{}, 24 * time.Hour, []reputation.Report{bad, bad, bad, bad}, 13, "p 11.593"},
		{"eight days ago", Config{}, 8 * 24 * time.Hour, []reputation.Report{bad, bad, bad, bad}, 0, ""},
		{"of a carrier", Config{Databases: sameFacts(carrier)}, 0, []reputation.Report{bad, bad, bad, bad}, 0, ""},
		{"of a relay", Config{Databases: sameFacts(relay)}, 0, []reputation.Report{bad, bad, bad, bad}, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := new(mapMemory)
				tc.c.Memory = memory
				e, v := spokenFor(t, tc.c, tc.wait, tc.answers...)
				spoken := tc.reasons != ""
				if v.Score != tc.score || v.Scored != spoken || reasonsOf(&v) != tc.reasons || v.Status != reputation.Unknown {
					t.Errorf("%d, %s, %q; want %d, %q", v.Score, v.Status, reasonsOf(&v), tc.score, tc.reasons)
				}
				if v.Categories != 0 || v.Facts.ASN != 0 || v.Facts.Country != "" {
					t.Errorf("it is accused of what others did, or is where they are: %+v", v)
				}
				if want := networkCoverage; spoken && (v.Coverage != want || !v.Reasons[0].Network || v.Reasons[0].Categories != 0) {
					t.Errorf("coverage %v, reasons %+v", v.Coverage, v.Reasons)
				}
				x := e.Explain(at(200))
				if reasonsOf(&x.Verdict) != tc.reasons || !x.Answers[0].NetworkSpent || x.Answers[0].Answered {
					t.Errorf("explained as %q, %+v", reasonsOf(&x.Verdict), x.Answers)
				}
				if _, stored := memory.records[record.KeyOf(at(200))]; stored {
					t.Error("something is stored as its own answer")
				}
				elsewhere := netip.MustParseAddr("192.0.2.200")
				if v := e.Lookup(t.Context(), elsewhere, time.Second); v.Status != reputation.Fresh || len(v.Reasons) > 1 {
					t.Errorf("another network: %+v", v)
				}
				e.Refresh(t.Context(), at(200)) // an operator asks
				v = e.Lookup(t.Context(), at(200), 0)
				if v.Status != reputation.Fresh || reasonsOf(&v) != "p -2" || v.Coverage != 1 {
					t.Errorf("its own answer did not replace what the network said: %+v", v)
				}
			})
		})
	}
}

// While the network has a share left, or only the quota is spent, nobody speaks for anybody: our failure is no verdict.
func TestTheNetworkSpeaksOnlyBeyondItsShare(t *testing.T) {
	for name, end := range map[string]func(*divided){
		"the quota is spent": func(d *divided) { d.left.Store(0) },
		"nobody has room":    func(d *divided) { d.concurrency = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := divide(100, abusive, abusive, abusive, abusive)
				e, _ := spokenFor(t, Config{Providers: []Provider{asked("p", d)}}, 0, abusive, abusive, abusive, abusive)
				end(d)
				if v := e.Lookup(t.Context(), at(201), 0); v.Scored || len(v.Reasons) > 0 {
					t.Errorf("%+v", v)
				}
			})
		})
	}
}

// Nothing that services say of a network refuses anybody: whatever it is, and however many they are.
func TestTheNetworkAloneRefusesNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e, now := &Engine{networks: newNetworkAnswers()}, uint32(1_796_000_000)
		for i := range rapid.IntRange(1, record.MaxAnswers).Draw(t, "services") {
			e.sources = append(e.sources, provider{
				Provider: Provider{Source: score.Source{
					Name: fmt.Sprint(i), Group: rapid.SampledFrom([]string{"", "group"}).Draw(t, "group"),
					Trust:  rapid.Float64Range(0, 1).Draw(t, "trust"),
					Weight: rapid.Float64Range(0, 1000).Draw(t, "weight"), GoodWeight: 60,
				}},
				id: record.SourceID(i + 1), divided: divide(0),
			})
			for j := range rapid.IntRange(0, 6).Draw(t, "answers") {
				a := record.Pack(record.SourceID(i+1), reputation.Report{
					Severity:   rapid.Float64Range(-1, 1).Draw(t, "severity"),
					Confidence: rapid.Float64Range(0, 1).Draw(t, "confidence"),
				}, time.Unix(int64(now)-int64(j), 0), time.Unix(int64(now), 0))
				e.networks.note(record.KeyOf(at(byte(j))), &a, now)
			}
		}
		l := local{addr: at(200), match: new(listing.Match)}
		evidence, trust := e.addNetwork(&l, new(record.Record), reputation.Nature{}, nil, now)
		percent, reasons := score.Judge(evidence, nil)
		if percent > 30 || percent < 100/(1+100.) {
			t.Fatalf("%.1f %% from %+v", percent, reasons)
		}
		if trust < 0 || trust > networkCoverage*float64(len(e.sources)) {
			t.Fatalf("it counts as %v answers of %d", trust, len(e.sources))
		}
	})
}

// Of twelve services with the points of AbuseIPDB that all have seen the worst of a network, the score is 24.
func TestManyServicesSpeakOfANetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		worst := reputation.Report{Severity: 1, Confidence: 1}
		var providers []Provider
		for i := range 12 {
			providers = append(providers, asked(fmt.Sprintf("p%d", i), divide(4, worst, worst, worst, worst)))
		}
		_, v := spokenFor(t, Config{Providers: providers}, 0, worst, worst, worst, worst)
		if v.Score != 24 || len(v.Reasons) != 12 {
			t.Errorf("%+v", v)
		}
	})
}

// What is forgotten no longer speaks, and what the memory has speaks after a reload.
func TestTheNetworkForgetsAndLearns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory, d := new(mapMemory), divide(4, abusive, abusive, abusive, abusive)
		providers := []Provider{asked("p", d)}
		e, v := spokenFor(t, Config{Providers: providers, Memory: memory}, 0, abusive, abusive, abusive, abusive)
		after := newEngine(t, Config{Providers: providers, Memory: memory})
		if got := after.Lookup(t.Context(), at(200), 0); got.Scored {
			t.Errorf("before it has learnt: %+v", got)
		}
		after.LearnNetworks(func(f func(record.Key, *record.Record) bool) {
			for key, rec := range memory.records {
				f(key, &rec)
			}
		})
		if got := after.Lookup(t.Context(), at(200), 0); reasonsOf(&got) != reasonsOf(&v) {
			t.Errorf("after a reload %q, before %q", reasonsOf(&got), reasonsOf(&v))
		}
		for i := range 3 {
			if _, err := e.Forget(t.Context(), at(byte(i))); err != nil {
				t.Fatal(err)
			}
		}
		if v := e.Lookup(t.Context(), at(200), 0); reasonsOf(&v) != "p 2.88" {
			t.Errorf("of the one that is left: %q", reasonsOf(&v))
		}
		e.ForgetUntil(record.KeyOf(at(3)), time.Now())
		if v := e.Lookup(t.Context(), at(200), 0); v.Scored {
			t.Errorf("all are forgotten: %+v", v)
		}
	})
}

// What another instance has learnt of neighbours speaks, too.
func TestTheNetworkSpeaksByOtherInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		answers := []reputation.Report{abusive, abusive, abusive, abusive}
		other := Config{Providers: []Provider{asked("p", divide(4, answers...))}, Shared: blackboard{b, "a"}}
		_, _ = spokenFor(t, other, 0, answers...)
		synctest.Wait()
		e := newEngine(t, Config{Providers: []Provider{asked("p", divide(0))}, Shared: blackboard{b, "b"}})
		for i := range answers {
			if v := e.Lookup(t.Context(), at(byte(i)), time.Second); v.Status != reputation.Fresh {
				t.Errorf("an address that the other has asked about is %s", v.Status)
			}
		}
		if v := e.Lookup(t.Context(), at(200), time.Second); reasonsOf(&v) != "p 11.52" {
			t.Errorf("%q", reasonsOf(&v))
		}
	})
}

// The table has one size. Networks with an answer each do not displace those that were asked about often, and what is
// read while others write is of the network that was asked for.
func TestNetworkAnswersAreBounded(t *testing.T) {
	const now = 1_796_000_000
	answer := func(severity float64) *record.Answer {
		a := record.Pack(1, reputation.Report{Severity: severity, Confidence: 1}, time.Unix(now, 0), time.Unix(now, 0))
		return &a
	}
	n := newNetworkAnswers()
	for i := range byte(4) {
		n.note(record.KeyOf(at(i)), answer(1), now)
	}
	var all sync.WaitGroup
	for w := range 2 {
		all.Go(func() {
			for i := range 100_000 {
				n.note(record.KeyOf(of(2*i+w, 1)), answer(-1), now)
			}
		})
	}
	for range 100_000 {
		if s := n.find(at(200), 1, now); s.addresses != 4 || s.badness != 1 {
			t.Fatalf("of the network: %+v", s)
		}
	}
	all.Wait()
	if s := n.find(at(200), 2, now); s.addresses != 0 {
		t.Errorf("another provider has said %+v", s)
	}
	if s := n.find(at(200), 1, now-3600); s.addresses != 0 {
		t.Errorf("answers of the future are believed: %+v", s)
	}
	again := answer(1)
	if allocs := testing.AllocsPerRun(100, func() {
		n.find(at(200), 1, now)
		n.note(record.KeyOf(at(3)), again, now)
	}); allocs != 0 && !testenv.Race {
		t.Errorf("%v allocations", allocs)
	}
}

// BenchmarkNetworkSpeaks is a look-up of an address about which nobody may be asked, with and without a network that
// speaks.
func BenchmarkNetworkSpeaks(b *testing.B) {
	for name, r := range map[string]reputation.Report{"accused": abusive, "clean": clean} {
		b.Run(name, func(b *testing.B) {
			e := newEngine(b, Config{Providers: []Provider{asked("p", divide(0))}, Memory: new(oneRecord)})
			a := record.Pack(e.ids[0], r, time.Now(), time.Now())
			e.networks.note(record.KeyOf(at(1)), &a, record.Seconds(time.Now()))
			b.ReportAllocs()
			for b.Loop() {
				e.Lookup(context.Background(), at(200), 0)
			}
		})
	}
}

// What a network is accused of does not count for a carrier's clients. A service that has said that of an address may say
// now that it is none: then it counts, so that there is something to ask.
func TestNoCarrierAnyMoreIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, memory := newDiary(), new(mapMemory)
		carriers := on(d, "carriers", 0, 0, reputation.Report{}, nil)
		carriers.Provider.(*service).says = reputation.Capabilities{Natures: reputation.KindsOf(reputation.NatureMobile)}
		e := newEngine(t, Config{Memory: memory, Providers: []Provider{
			asked("p", divide(4, abusive, abusive, abusive, abusive)), carriers,
		}})
		for i := range 4 {
			e.Lookup(t.Context(), at(byte(i)), time.Minute)
		}
		asked := d.text()
		now := time.Now()
		memory.Update(record.KeyOf(at(200)), func(rec *record.Record) {
			rec.Learn(record.Pack(e.sources[1].id, reputation.Report{}, now.Add(-2*time.Hour), now.Add(-time.Hour)),
				reputation.Facts{Nature: reputation.Nature{}.With(reputation.NatureMobile, true)})
			rec.Set(record.Answer{Source: e.sources[0].id, Failed: true, Due: record.Seconds(now.Add(time.Minute))})
		})
		e.LookupRequest(t.Context(), at(200), Request{Stakes: &blockFrom{10}}, time.Minute)
		time.Sleep(time.Minute)
		if d.text() == asked {
			t.Error("the service of carriers is not asked")
		}
	})
}
