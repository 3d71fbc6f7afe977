package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/memory"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/worth"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The client and its neighbours.
var (
	client     = netip.MustParseAddr("203.0.113.200")
	neighbours = score.OfNeighbourhood(10)
	trap       = score.OfOwn("trap", 60)
)

// world is all that there is to know of the client, drawn at random.
type world struct {
	database reputation.Facts
	lists    []uint16
	named    map[uint32][]uint16 // by autonomous system
	points   float64             // that violations of the client have cost it
	nearby   map[uint32]float64  // those of the neighbourhood, by autonomous system
}

func (w *world) Facts(netip.Addr) reputation.Facts { return w.database }
func (w *world) Current() listing.Contents         { return w }
func (w *world) Lookup(addr netip.Addr) uint32 {
	if addr == client {
		return 1
	}
	return 0
}
func (w *world) Members(set uint32) []uint16 {
	if set == 1 {
		return w.lists
	}
	return nil
}
func (w *world) Named(asn uint32, _ string) []uint16 { return w.named[asn] }
func (w *world) Names() bool                         { return len(w.named) > 0 }
func (w *world) Sets() int                           { return 2 }
func (w *world) Loaded(int) bool                     { return true }
func (w *world) Content(int) string                  { return "" }

func (w *world) Knows(addr netip.Addr, _ uint32) bool {
	return addr == client && (w.points > 0 || len(w.nearby) > 0)
}
func (w *world) AddEvidence(all []score.Evidence, addr netip.Addr, f reputation.Facts, _ uint32) []score.Evidence {
	if addr != client {
		return all
	}
	if w.points > 0 {
		all = append(all, score.Evidence{
			Source: &trap, Severity: w.points / 60, Confidence: 1, Categories: reputation.CategoriesOf(reputation.Scanner),
		})
	}
	relay, _ := f.Nature.Is(reputation.NatureRelay)
	mobile, _ := f.Nature.Is(reputation.NatureMobile)
	if points := w.nearby[f.ASN]; points > 0 && !relay && !mobile {
		all = append(all, score.Evidence{Source: &neighbours, Severity: points / 10, Confidence: 1})
	}
	return all
}
func (w *world) Most() int { return 2 }
func (w *world) Nearby() *score.Source {
	if len(w.nearby) == 0 {
		return nil
	}
	return &neighbours
}

// meanings are the lists of the world.
var meanings = []listing.List{
	feedOf("proxies", 20, reputation.Nature{}, reputation.Proxy),
	feedOf("scanners", 20, reputation.Nature{}, reputation.Scanner),
	feedOf("relays", 0, reputation.Nature{}.With(reputation.NatureRelay, true)),
	feedOf("tor", 8, reputation.Nature{}.With(reputation.NatureTor, true), reputation.Tor),
}

func feedOf(name string, weight float64, n reputation.Nature, c ...reputation.Category) listing.List {
	return listing.List{
		Source: score.Source{Name: name, Trust: 1, Weight: weight}, Confidence: 1, Nature: n,
		Categories: reputation.CategoriesOf(c...),
	}
}

// oracle is a service that says something drawn at random, within what it declares.
type oracle struct {
	says   reputation.Capabilities
	report reputation.Report
	err    error
	spent  bool // the client's network has used its share
}

func (o *oracle) Profile() reputation.Profile {
	return reputation.Profile{Name: "oracle", Capabilities: o.says}
}
func (o *oracle) Check(_ context.Context, q reputation.Query) (reputation.Report, error) {
	if q.Addr != client {
		return reputation.Report{Severity: 1, Confidence: 1}, nil
	}
	return o.report, o.err
}
func (o *oracle) NetworkSpent(netip.Addr, time.Time) bool { return o.spent }
func (o *oracle) CountSkipped(reputation.Result)          {}
func (o *oracle) Reserve(addr netip.Addr, _ worth.Bid, _ time.Time) (lookup.Reservation, reputation.Result, bool) {
	if o.spent {
		return nil, reputation.ResultSkippedQuota, false
	}
	return oracleCall{o}, reputation.ResultOK, false
}

type oracleCall struct{ *oracle }

func (oracleCall) Cancel() {}

type ignoring struct{}

func (ignoring) CountLookup(reputation.Origin)                  {}
func (ignoring) ObserveLookup(reputation.Origin, time.Duration) {}

// rulesOf are the stakes of a site with these rules.
type rulesOf struct{ *policy.Policy }

func (s *rulesOf) Open(client netip.Addr, v *reputation.Verdict, p *Prospect) bool {
	open, _ := s.Policy.Open(v, client, (*policy.Prospect)(p))
	return open
}

var (
	systems = []uint32{0, 64500, 64501}
	kinds   = reputation.AllKinds()
	said    = []reputation.Category{reputation.Scanner, reputation.Proxy, reputation.VPN, reputation.Spam}
)

func drawNature(t *rapid.T, within reputation.Kinds, label string) (n reputation.Nature) {
	for _, kind := range kinds {
		if within.Has(kind) && rapid.Bool().Draw(t, label+" says "+kind.String()) {
			n = n.With(kind, rapid.Bool().Draw(t, label+" is "+kind.String()))
		}
	}
	return n
}

func drawKinds(t *rapid.T, label string) reputation.Kinds {
	return reputation.KindsOf(rapid.SliceOfDistinct(rapid.SampledFrom(kinds), rapid.ID).Draw(t, label)...)
}

func drawReport(t *rapid.T, says reputation.Capabilities, label string) (r reputation.Report) {
	r.Severity = float64(rapid.IntRange(-10, 10).Draw(t, label+" severity")) / 10
	r.Confidence = float64(rapid.IntRange(0, 10).Draw(t, label+" confidence")) / 10
	for _, c := range said {
		if r.Severity > 0 && says.Categories.Has(c) && rapid.Bool().Draw(t, label+" says "+c.String()) {
			r.Categories |= reputation.CategoriesOf(c)
		}
	}
	r.Facts.Nature = drawNature(t, says.Natures, label)
	if says.ASN {
		r.Facts.ASN = rapid.SampledFrom(systems).Draw(t, label+" system")
	}
	if says.Country {
		r.Facts.Country = rapid.SampledFrom([]string{"", "DE", "SE"}).Draw(t, label+" country")
	}
	return r
}

func drawWorld(t *rapid.T) *world {
	w := &world{points: float64(rapid.IntRange(0, 25).Draw(t, "points")), nearby: map[uint32]float64{}, named: map[uint32][]uint16{}}
	w.database.Nature = drawNature(t, drawKinds(t, "database"), "database")
	w.database.ASN = rapid.SampledFrom(systems).Draw(t, "database's system")
	w.database.Country = rapid.SampledFrom([]string{"", "DE"}).Draw(t, "database's country")
	for i := range meanings {
		if rapid.IntRange(0, 2).Draw(t, meanings[i].Source.Name) == 0 {
			w.lists = append(w.lists, uint16(i))
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "a list names a system") == 0 {
		w.named[64500] = []uint16{1}
	}
	for _, asn := range systems {
		if rapid.IntRange(0, 2).Draw(t, "neighbours") == 0 {
			w.nearby[asn] = float64(rapid.IntRange(1, 10).Draw(t, "neighbours' points"))
		}
	}
	return w
}

func drawPolicy(t *rapid.T, statuses bool) *policy.Policy {
	most := rapid.SampledFrom([]int{1, 2, 9}).Draw(t, "conditions are rare")
	has := func(label string) bool { return rapid.IntRange(0, most).Draw(t, label+"?") == 0 }
	words := func(label string, words ...string) []string {
		if !has(label) {
			return nil
		}
		return []string{rapid.SampledFrom(words).Draw(t, label)}
	}
	var rules []policy.Rule
	for range rapid.IntRange(1, 4).Draw(t, "rules") {
		c := policy.Config{
			Category: words("category", "scanner", "proxy", "vpn", "spam", "tor"),
			Nature:   words("nature", "vpn", "relay", "tor", "mobile", "hosting"),
			Country:  words("country", "DE", "SE"), Continent: words("continent", "EU", "NA"),
			Network: words("network", "203.0.113.0/24", "198.51.100.0/24"),
			Source:  words("source", "p0", "p1", "own", "proxies", "scanners", reputation.SourceNeighbourhood),
		}
		if has("score") {
			low := rapid.IntRange(0, 100).Draw(t, "low")
			c.Score = fmt.Sprintf("%d-%d", low, rapid.IntRange(low, 100).Draw(t, "high"))
		}
		if has("asn") {
			c.ASN = []uint32{64500}
		}
		if statuses {
			c.Status = words("status", "fresh", "partial", "unknown", "stale", "pending")
		}
		compiled, err := c.Compile(nil)
		if err != nil {
			t.Fatal(err)
		}
		rule := policy.Rule{Conditions: compiled, More: rapid.Bool().Draw(t, "more"), Action: rapid.SampledFrom(
			[]reputation.Action{reputation.Pass, reputation.Block, reputation.Limit, reputation.Ban, reputation.Drop},
		).Draw(t, "action")}
		switch rule.Action {
		case reputation.Block:
			rule.StatusCode = rapid.SampledFrom([]int{0, 451}).Draw(t, "status code")
		case reputation.Ban:
			rule.Ban = time.Duration(rapid.IntRange(0, 1).Draw(t, "ban")) * time.Hour
		case reputation.Limit:
			rule.BySystem = rapid.Bool().Draw(t, "by system")
		}
		rules = append(rules, rule)
	}
	p, err := policy.New(rules, rapid.SampledFrom([]reputation.Action{reputation.Pass, reputation.Block}).Draw(t, "unknown"))
	if err != nil {
		t.Skip(err)
	}
	return p
}

// effect is what a policy does with a request that meets the further conditions of some rules.
func effect(p *policy.Policy, v *reputation.Verdict, met uint8) (e struct {
	action    reputation.Action
	code      int
	ban       time.Duration
	limit     int    // the number of the rule that limits
	limitedBy uint32 // the system whose requests it counts
}) {
	action, by := p.Decide(v, client, 0)
	for by != nil && by.More && met>>by.Number&1 == 0 {
		action, by = p.Decide(v, client, by.Number)
	}
	if e.action = action; by == nil {
		return e
	}
	e.code, e.ban = by.StatusCode, by.Ban
	if action == reputation.Limit {
		if e.limit = by.Number; by.BySystem {
			e.limitedBy = v.Facts.ASN
		}
	}
	return e
}

// TestWhoWasNotAskedDecidesNothing proves that no answer of a service that was not asked would lead to another decision,
// whatever is known of the client, whatever the services say, and whatever the rules.
func TestWhoWasNotAskedDecidesNothing(t *testing.T) {
	spared := 0
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.Bool().Draw(t, "all answer later")
		w, sites := drawWorld(t), &rulesOf{drawPolicy(t, all)}
		now, table := time.Now(), memory.New(100, 4)
		var providers []lookup.Provider
		var oracles []*oracle
		for i := range rapid.IntRange(1, 4).Draw(t, "services") {
			name := fmt.Sprintf("p%d", i)
			o := &oracle{says: reputation.Capabilities{
				Categories: reputation.CategoriesOf(reputation.Abuse) |
					reputation.CategoriesOf(rapid.SliceOfDistinct(rapid.SampledFrom(said), rapid.ID).Draw(t, name+" categories")...),
				Natures: drawKinds(t, name+" natures"),
				Country: rapid.Bool().Draw(t, name+" countries"), ASN: rapid.IntRange(0, 3).Draw(t, name+" systems") == 0,
			}}
			o.report = drawReport(t, o.says, name)
			if rapid.IntRange(0, 3).Draw(t, name+" fails") == 0 {
				o.err = errors.New("away")
			}
			oracles, providers = append(oracles, o), append(providers, lookup.Provider{
				Source: score.Source{
					Name: name, Trust: rapid.SampledFrom([]float64{1, .5, .1}).Draw(t, name+" trust"), Weight: float64(rapid.IntRange(0, 40).Draw(t, name+" weight")),
					GoodWeight: float64(rapid.IntRange(0, 40).Draw(t, name+" good weight")),
					Group:      rapid.SampledFrom([]string{"", "g"}).Draw(t, name+" group"),
				},
				Provider: o, ListedTTL: time.Hour, CleanTTL: time.Hour,
				CallsPerDay:  rapid.SampledFrom([]float64{0, 1000, 33}).Draw(t, name+" calls"),
				UnlessListed: rapid.IntRange(0, 4).Draw(t, name+" not if listed") == 0,
			})
		}
		e, err := lookup.New(lookup.Config{
			Lists: w, Meanings: meanings, Databases: w, Own: w, Memory: table, Providers: providers,
			Observer: ignoring{}, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close(context.Background())
		if rapid.Bool().Draw(t, "the network is known") {
			for i := range 4 {
				e.Lookup(context.Background(), netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), time.Hour)
			}
			for i, o := range oracles {
				o.spent = rapid.Bool().Draw(t, providers[i].Source.Name+" asks no more about it")
			}
		}
		table.Update(record.KeyOf(client), func(rec *record.Record) {
			for i, o := range oracles {
				name := providers[i].Source.Name
				if rapid.IntRange(0, 2).Draw(t, name+" has answered") == 0 {
					r := drawReport(t, o.says, name+" once")
					rec.Learn(record.Pack(record.IDOf(name), r, now.Add(-2*time.Hour), now.Add(-time.Hour)), r.Facts)
				}
				if rapid.IntRange(0, 3).Draw(t, name+" has failed") == 0 {
					failed := record.Answer{Source: record.IDOf(name)}
					if old := rec.Find(failed.Source); old != nil {
						failed = *old
					}
					failed.Failed, failed.Due = true, record.Seconds(now.Add(time.Minute))
					rec.Set(failed)
				}
			}
		})
		claim := rapid.SampledFrom([]lookup.Claim{
			{}, {}, {}, {Fake: true}, {Bot: "examplebot"}, {Bot: "examplebot", Trusted: true},
		}).Draw(t, "claim")
		request := lookup.Request{Stakes: sites, Claim: claim}
		e.LookupRequest(context.Background(), client, request, time.Hour)
		for e.Busy() { // a request that has an answer already does not wait for the next one
			time.Sleep(time.Microsecond)
		}
		x, needless := e.ExplainRequest(client, request), 0
		v := x.Verdict
		for i, a := range x.Answers {
			if !a.Needless {
				continue
			}
			needless++
			if all || rapid.Bool().Draw(t, a.Source+" answers after all") {
				r := drawReport(t, oracles[i].says, a.Source+" later")
				table.Update(record.KeyOf(client), func(rec *record.Record) {
					rec.Learn(record.Pack(record.IDOf(a.Source), r, now, now.Add(time.Hour)), r.Facts)
				})
			}
		}
		if needless == 0 {
			return
		}
		spared++
		later, met := e.ExplainRequest(client, lookup.Request{Claim: claim}).Verdict, rapid.Uint8().Draw(t, "met")
		if a, b := effect(sites.Policy, &v, met), effect(sites.Policy, &later, met); a != b {
			t.Fatalf("%+v becomes %+v:\n%+v\n%+v", a, b, v, later)
		}
	})
	if spared == 0 {
		t.Error("everybody was always asked")
	}
}
