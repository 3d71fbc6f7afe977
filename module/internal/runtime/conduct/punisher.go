package conduct

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/clients"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/event"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	punishDelay = 75 * time.Millisecond // in which sentences are gathered: a change costs the same for one as for many
	punishQueue = 4096
	punishLook  = time.Second // between two looks for a burst
	punishShown = 5           // bans of one change that are logged one by one
)

// punisher carries out what rules and violations decide, many at a time and beside the requests.
type punisher struct {
	store   *ban.Store
	events  *event.Emitter
	serving func() *Conduct
	logger  *slog.Logger
	queue   chan ban.Sentence

	clients, offenders clients.Distinct // their networks of late; offenders are those who were to be banned
	burst              atomic.Pointer[health.BanBurst]
	watch              ban.Burst // the owner's
	logged             throttle.Causes[string]

	stop context.CancelFunc
	done chan struct{}
}

func newPunisher(store *ban.Store, events *event.Emitter, serving func() *Conduct, logger *slog.Logger) *punisher {
	ctx, cancel := context.WithCancel(context.Background())
	p := &punisher{
		store: store, events: events, serving: serving, logger: logger, queue: make(chan ban.Sentence, punishQueue),
		stop: cancel, done: make(chan struct{}),
	}
	p.clients.Turn(time.Now())
	p.offenders.Turn(time.Now())
	go func() {
		defer close(p.done)
		process.Supervise(ctx, logger, "banning clients", p.run)
	}()
	return p
}

// close ends the goroutine, which carries out what was decided before.
func (p *punisher) close() error {
	p.stop()
	<-p.done
	return nil
}

// take queues a sentence. It does not wait.
func (p *punisher) take(s ban.Sentence) {
	p.offenders.Add(s.Client)
	p.clients.Add(s.Client) // that of a violation which the look-up API was told has sent no request here
	if p.burst.Load() != nil {
		p.spare(spareBurst, s.Client)
		return
	}
	select {
	case p.queue <- s:
	default: // the client's next request tries again
		p.spare(spareQueue, s.Client)
	}
}

// spare counts and logs that a client is not banned.
func (p *punisher) spare(why violation.Ignored, client netip.Addr) {
	metrics.CountSparedBan(string(why))
	if !p.logged.Allow(string(why), time.Now()) {
		return
	}
	about := []any{
		slog.String("reason", string(why)), slog.String("why", spared[why].text), slog.String("address", client.String()),
	}
	if cure := spared[why].cure; cure != "" {
		about = append(about, slog.String("cure", cure))
	}
	p.logger.Warn("a client is not banned, and its requests are refused", about...)
}

// run is the owner of the queue.
func (p *punisher) run(ctx context.Context) {
	tick := time.NewTicker(punishLook)
	defer tick.Stop()
	for {
		select {
		case first := <-p.queue:
			p.carryOut(p.gather(ctx, first))
		case now := <-tick.C:
			p.clients.Turn(now)
			p.offenders.Turn(now)
			p.look(now)
		case <-ctx.Done():
			p.carryOut(p.waiting(nil))
			return
		}
	}
}

// gather returns what comes within a short time.
func (p *punisher) gather(ctx context.Context, first ban.Sentence) []ban.Sentence {
	timer := time.NewTimer(punishDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return p.waiting([]ban.Sentence{first})
}

// waiting adds what is in the queue, one sentence for each client.
func (p *punisher) waiting(list []ban.Sentence) []ban.Sentence {
	known := map[netip.Prefix]bool{}
	for _, s := range list {
		known[reputation.Subject(s.Client)] = true
	}
	for range punishQueue {
		select {
		case s := <-p.queue:
			if subject := reputation.Subject(s.Client); !known[subject] {
				known[subject] = true
				list = append(list, s)
			}
		default:
			return list
		}
	}
	return list
}

// carryOut bans clients, unless there is a burst.
func (p *punisher) carryOut(list []ban.Sentence) {
	if len(list) == 0 {
		return
	}
	if p.look(time.Now()) {
		for _, s := range list {
			p.spare(spareBurst, s.Client)
		}
		return
	}
	done, err := p.store.Punish(list)
	if err != nil { // it is closed with the process
		return
	}
	p.logBans(done)
	for _, d := range done {
		switch d.Outcome {
		case ban.Banned:
			metrics.CountBan(d.Cause.By.String())
			p.serving().recordBan(&d)
		case ban.Exempt:
			p.spare(violation.IgnoredExempt, d.Client)
		case ban.NetworkFull:
			p.spare(spareNetwork, d.Client)
		case ban.Full:
			p.spare(spareFull, d.Client)
		case ban.AlreadyDone:
		}
	}
}

// logBans logs who was banned and why. Of many, it logs the first.
func (p *punisher) logBans(done []ban.Punished) {
	done = slices.DeleteFunc(slices.Clone(done), func(d ban.Punished) bool { return d.Outcome != ban.Banned })
	for _, d := range done[:min(len(done), punishShown)] {
		e := d.Entry
		p.logger.Info("banned", slog.String("prefix", e.Prefix.String()), slog.String("by", e.Cause.By.String()),
			slog.String("rule", e.Cause.Rule), slog.String("site", e.Cause.Site), slog.String("request_id", e.Cause.RequestID),
			slog.Int("times", e.Cause.Times), slog.Time("until", e.Expires))
	}
	if more := len(done) - punishShown; more > 0 {
		p.logger.Info("more clients were banned", slog.Int("count", more))
	}
}

// look reports whether there is a burst, and tells of its begin and end.
func (p *punisher) look(now time.Time) bool {
	offenders, all := p.offenders.Count(), p.clients.Count()
	burst, changed := p.watch.Look(offenders, all, p.share(), now)
	switch {
	case burst && changed:
		p.burst.Store(&health.BanBurst{Since: now, Offenders: offenders, Networks: all})
		p.events.BanBurst(offenders, all)
		p.logger.Error("so many clients come under bans at once that rules and violations ban nobody for now",
			slog.Int("count", offenders), slog.Int("of", all), slog.String("cure", health.CureOfBanBurst))
	case changed:
		p.burst.Store(nil)
		p.logger.Info("rules and violations ban again")
	}
	return burst
}

// share is that of the serving configuration, above which there is a burst.
func (p *punisher) share() float64 {
	if c := p.serving(); c != nil {
		return c.Bans.Burst
	}
	return 1
}
