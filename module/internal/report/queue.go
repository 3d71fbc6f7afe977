package report

import (
	"maps"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The bounds of the queue.
const (
	maxWaiting   = 1000 // reports
	maxOfNetwork = 10   // of them about one IPv4 /24 or IPv6 /48
	maxQuiet     = 10_000
	maxRecent    = 200 // reports that are shown when they do not wait any more

	maxNames = 64 // of violations, as many as a configuration may have

	// pruneEvery is how often all quiet subjects are looked at while there are too many.
	pruneEvery = time.Minute

	// gather is how long a report waits for further violations of its subject.
	gather = 3 * time.Second

	// maxAge is how old a report may become. An older one says little of who has the address now.
	maxAge = time.Hour
)

// Queue holds the reports that wait, and the last ones that do no more. It outlives reloads. What waits is lost when
// the process ends. That a report was sent a moment ago is then known to Redis, and to the service, which refuses
// another one.
type Queue struct {
	mu       sync.Mutex // never held during a call
	waiting  map[subject]*entry
	networks map[netip.Prefix]int
	quiet    map[subject]time.Time // no further report before
	pruned   time.Time             // when what is over was last removed from quiet
	recent   []Report              // of services, the newest last
	shown    []Report              // that no service gets, likewise
	totals   map[string]*Totals    // by service

	changed chan struct{} // has an element after a report was added
	turn    chan struct{} // holds an element while a Run is at work
}

// subject is whom a report is about: those of sites that only observe are reported for themselves.
type subject struct {
	prefix   netip.Prefix
	observed bool
}

// entry is a report that waits.
type entry struct {
	subject subject
	client  netip.Addr // of the last violation, as is request
	request string     // its ID
	names   []string   // of the violations, never changed in place
	began   time.Time  // by the clock of the queue
	deeds   deeds
	to      []*delivery // nil while more violations are gathered
}

// add adds a violation of the subject.
func (e *entry) add(v *Violation) {
	e.client, e.request = v.Client, v.RequestID
	if !slices.Contains(e.names, v.Name) && len(e.names) < maxNames {
		e.names = append(slices.Clip(e.names), v.Name)
	}
	e.deeds.add(v)
}

// delivery is a report on its way to one service.
type delivery struct {
	service string
	due     time.Time
	tries   int
	why     string // the last try failed
	done    bool
}

// New returns an empty queue.
func New() *Queue {
	return &Queue{
		waiting: make(map[subject]*entry), networks: make(map[netip.Prefix]int), quiet: make(map[subject]time.Time),
		totals:  make(map[string]*Totals),
		changed: make(chan struct{}, 1), turn: make(chan struct{}, 1),
	}
}

// Add adds a violation to the report about its client, or begins one. It reports false if there is no room for another
// report. It waits for nothing but other calls of this kind.
func (q *Queue) Add(v Violation) bool {
	now := time.Now()
	if v.At.After(now) || v.At.IsZero() {
		v.At = now
	}
	about := subject{reputation.Subject(v.Client), v.Observed}
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.waiting[about]; e != nil {
		e.add(&v)
		return true
	}
	if now.Before(q.quiet[about]) {
		return true
	}
	network := reputation.Network(v.Client)
	if len(q.waiting) >= maxWaiting || q.networks[network] >= maxOfNetwork || !q.roomForQuiet(now) {
		return false
	}
	e := &entry{subject: about, began: now}
	e.add(&v)
	q.waiting[about] = e
	q.networks[network]++
	select {
	case q.changed <- struct{}{}:
	default:
	}
	return true
}

// roomForQuiet reports whether one more subject can be remembered as reported.
func (q *Queue) roomForQuiet(now time.Time) bool {
	if len(q.quiet)+len(q.waiting) >= maxQuiet && now.Sub(q.pruned) >= pruneEvery {
		q.pruned = now
		maps.DeleteFunc(q.quiet, func(_ subject, until time.Time) bool { return !now.Before(until) })
	}
	return len(q.quiet)+len(q.waiting) < maxQuiet
}

// due returns the delivery that is due first, and how long to wait for it, forever if there is none.
func (q *Queue) due(now time.Time, services []Service) (first *entry, to *delivery, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	wait = math.MaxInt64
	for _, e := range q.waiting {
		if e.to == nil {
			if left := e.gathered().Sub(now); left > 0 {
				wait = min(wait, left)
				continue
			}
			e.address(services)
		}
		for _, d := range e.to {
			if !d.done && (to == nil || d.due.Before(to.due)) {
				first, to = e, d
			}
		}
	}
	if to == nil {
		return nil, nil, wait
	}
	return first, to, min(wait, to.due.Sub(now))
}

// gathered is when a report waits for no further violations.
func (e *entry) gathered() time.Time { return e.began.Add(gather) }

// address makes the deliveries of an entry. Those that are shown only have one to nobody.
func (e *entry) address(services []Service) {
	if e.subject.observed || len(services) == 0 {
		e.to = []*delivery{{due: e.gathered()}}
		return
	}
	for i := range services {
		e.to = append(e.to, &delivery{service: services[i].Name, due: e.gathered()})
	}
}

// report returns a delivery as operators see it.
func (e *entry) report(d *delivery, o Outcome, why string, at time.Time) Report {
	return Report{
		Address: e.client, Service: d.service, Categories: e.deeds.categories, Comment: e.deeds.comment(),
		Violations: e.names, Requests: e.deeds.requests, First: e.deeds.first.UTC(), Last: e.deeds.last.UTC(),
		RequestID: e.request, Outcome: o, Why: why, Tries: d.tries, At: at.UTC(),
	}
}

// incident returns what a service is told about an entry, the names of its violations, and its age.
func (q *Queue) incident(e *entry, now time.Time) (i reputation.Incident, violations []string, age time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return reputation.Incident{
		Addr: e.client, Categories: e.deeds.categories, Comment: e.deeds.comment(), At: e.deeds.last,
	}, e.names, now.Sub(e.began)
}

// retry puts a delivery off.
func (q *Queue) retry(e *entry, d *delivery, why string, counts bool, due time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d.why = why
	if counts {
		d.tries++
	}
	d.due = due
	if end := e.began.Add(maxAge); due.After(end) {
		d.due = end
	}
}

// finish ends a delivery, and with the last one the report.
func (q *Queue) finish(e *entry, d *delivery, o Outcome, why string, now time.Time) Report {
	q.mu.Lock()
	defer q.mu.Unlock()
	d.done = true
	ended := e.report(d, o, why, now)
	if o == Shown || d.service == "" {
		q.shown = push(q.shown, ended)
	} else {
		q.recent = push(q.recent, ended)
		q.total(d.service)[o]++
	}
	if slices.ContainsFunc(e.to, func(d *delivery) bool { return !d.done }) {
		return ended
	}
	delete(q.waiting, e.subject)
	q.quiet[e.subject] = now.Add(Quiet)
	network := reputation.Network(e.subject.prefix.Addr())
	if q.networks[network]--; q.networks[network] <= 0 {
		delete(q.networks, network)
	}
	return ended
}

// Waiting returns the reports that wait, the oldest first. Those that gather violations have no service yet.
func (q *Queue) Waiting() []Report {
	q.mu.Lock()
	defer q.mu.Unlock()
	var all []Report
	for _, e := range q.waiting {
		if e.to == nil {
			all = append(all, e.report(&delivery{}, Queued, "", e.gathered()))
		}
		for _, d := range e.to {
			if !d.done {
				all = append(all, e.report(d, Queued, d.why, d.due))
			}
		}
	}
	slices.SortFunc(all, func(a, b Report) int { return a.First.Compare(b.First) })
	return all
}

// push adds a report to the last ones.
func push(last []Report, r Report) []Report {
	if len(last) == maxRecent {
		last = slices.Delete(last, 0, 1)
	}
	return append(last, r)
}

// Recent returns the last reports to services, the newest first.
func (q *Queue) Recent() []Report { return q.newestFirst(&q.recent) }

// Shown returns the last reports that would have been sent, if the site enforced and a service took them, the newest
// first.
func (q *Queue) Shown() []Report { return q.newestFirst(&q.shown) }

func (q *Queue) newestFirst(last *[]Report) []Report {
	q.mu.Lock()
	defer q.mu.Unlock()
	reports := slices.Clone(*last)
	slices.Reverse(reports)
	return reports
}

// Totals are how many reports had each outcome since the process began.
type Totals [NumOutcomes]uint64

// Totals returns those of a service, with the number of its reports that wait.
func (q *Queue) Totals(service string) Totals {
	q.mu.Lock()
	defer q.mu.Unlock()
	totals := *q.total(service)
	for _, e := range q.waiting {
		for _, d := range e.to {
			if d.service == service && !d.done {
				totals[Queued]++
			}
		}
	}
	return totals
}

// total returns the totals of a service. There are as many as the configurations of the process had services.
func (q *Queue) total(service string) *Totals {
	if q.totals[service] == nil {
		q.totals[service] = new(Totals)
	}
	return q.totals[service]
}
