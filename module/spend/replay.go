package spend

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/worth"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// latency is how long the service takes. The request that is asked about goes on without the answer.
const latency = 200 * time.Millisecond

// way is a way to spend a quota.
type way struct {
	name      string
	firstCome bool
	burst     float64
	network   float64
}

var (
	unpaced   = way{"first come, not spread", true, 1, 1}
	firstCome = way{"first come", true, .25, .02}
	matters   = way{"where it matters", false, .25, .02}
)

// result is what became of a trace.
type result struct {
	way      way
	percent  float64 // of the subjects a day that the quota is
	quota    int     // calls a day
	asked    int     // calls
	requests int     // abusive ones that are not settled by what the site knows itself
	covered  int     // those of them with an answer
	benign   int     // subjects that are not abusive
	needless int     // those of them that were asked about
	best     int     // what would be covered by as many calls if all was known beforehand
}

// coverage is the part of the abusive requests whose client had an answer.
func (r *result) coverage() float64 { return float64(r.covered) / float64(max(r.requests, 1)) }

// replay sends a trace through what decides whether a service is asked: the guard of its quota, the worth of answers,
// the store of violations and the score. Nothing of them is written again here, but for how they are put together.
type replay struct {
	now      time.Time
	way      way
	rules    *rules
	trace    *trace
	guard    *quota.Guard
	visits   *worth.Visits
	store    *violation.Store
	own      *violation.Evidence
	terms    map[string]violation.Terms
	list     score.Source
	evidence []score.Evidence
	answered map[record.Key]time.Time
	open     map[record.Key]int // the abusive requests that are not settled
}

// run replays a trace with a quota of so many percent of its subjects.
func run(t *trace, rules *rules, w way, percent float64) (result, error) {
	res := result{way: w, percent: percent, quota: max(int(percent/100*float64(t.subjectsPerDay())), 1)}
	r := &replay{
		way: w, rules: rules, trace: t, visits: worth.NewVisits(), terms: map[string]violation.Terms{},
		list: score.OfFeed("list", reputation.CategoriesOf(reputation.Abuse)), answered: map[record.Key]time.Time{},
		open: map[record.Key]int{},
	}
	clock := func() time.Time { return r.now }
	all := module.BuiltInViolations()
	for _, v := range all {
		r.terms[v.Name] = v
	}
	if len(t.requests) > 0 {
		r.now = t.requests[0].at
	}
	r.store = violation.Open("", violation.Options{Now: clock})
	defer func() { _ = r.store.Close() }()
	r.own = violation.NewEvidence(r.store, all, nil)
	quiet := slog.New(slog.DiscardHandler)
	r.guard = quota.New("service", answersAll{}, quota.Terms{
		Windows: []ledger.Window{{Limit: res.quota, Period: ledger.Day}}, Burst: w.burst, NetworkShare: w.network,
		FirstCome: w.firstCome, Concurrency: 1000,
	}, quota.NewBudget(), ledger.OpenLocal("", quiet), quota.Options{Logger: quiet, Now: clock})
	benign := map[record.Key]bool{}
	for i := range t.requests {
		if err := r.serve(&t.requests[i], &res, benign); err != nil {
			return res, err
		}
	}
	for key, harmless := range benign {
		if !harmless {
			continue
		}
		res.benign++
		if _, asked := r.answered[key]; asked {
			res.needless++
		}
	}
	res.asked = len(r.answered)
	worst := slices.SortedFunc(maps.Values(r.open), func(a, b int) int { return b - a })
	for _, n := range worst[:min(res.asked, len(worst))] {
		res.best += n - 1 // the first request is never covered
	}
	return res, nil
}

// serve replays one request: what is known of its client, whether it is asked about, and what it is seen to do.
func (r *replay) serve(q *request, res *result, benign map[record.Key]bool) error {
	r.now = q.at
	key := record.KeyOf(q.addr)
	if harmless, known := benign[key]; !known || harmless {
		benign[key] = !q.abusive
	}
	at, asked := r.answered[key]
	percent, seen := r.judge(q, key)
	if percent < score.Certain {
		if q.abusive {
			res.requests++
			r.open[key]++
			if asked && !at.After(q.at) {
				res.covered++
			}
		}
		if !asked {
			if err := r.bid(q, key, percent, seen); err != nil {
				return err
			}
		}
	}
	for _, name := range r.rules.violations(q) {
		terms := r.terms[name]
		r.store.Add(&terms, violation.Act{Client: q.addr, At: q.at, Path: q.path, Share: 1})
	}
	return nil
}

// judge returns the score by what the site knows itself, and whether it has seen the client do something.
func (r *replay) judge(q *request, key record.Key) (percent float64, seen bool) {
	r.evidence = r.evidence[:0]
	if r.trace.listed[key] {
		r.evidence = append(r.evidence, score.Evidence{
			Source: &r.list, Severity: 1, Confidence: .5, Listed: true,
			Categories: reputation.CategoriesOf(reputation.Abuse),
		})
	}
	if seen = r.own.Knows(q.addr, 0); seen {
		r.evidence = r.own.AddEvidence(r.evidence, q.addr, reputation.Facts{}, record.Seconds(q.at))
	}
	percent, _ = score.Judge(r.evidence, nil)
	return percent, seen
}

// bid asks the service about the client of a request, if an answer is worth it.
func (r *replay) bid(q *request, key record.Key, percent float64, seen bool) error {
	bidder := worth.Client{
		Visits: r.visits.Count(key, record.Seconds(q.at)), Percent: percent, Seen: seen,
		Important: r.rules.important(q),
	}
	reservation, _, _ := r.guard.Reserve("", q.addr, worth.Bid{Worth: bidder.Worth()}, q.at)
	if reservation == nil {
		return nil
	}
	if _, err := reservation.Check(context.Background(), reputation.Query{Addr: q.addr}); err != nil {
		return fmt.Errorf("asking about a client at %s: %w", q.at, err)
	}
	r.answered[key] = q.at.Add(latency)
	return nil
}

// answersAll is a service that answers at once.
type answersAll struct{}

// Profile implements reputation.Provider.
func (answersAll) Profile() reputation.Profile { return reputation.Profile{Name: "service"} }

// Check implements reputation.Provider.
func (answersAll) Check(context.Context, reputation.Query) (reputation.Report, error) {
	return reputation.Report{}, nil
}
