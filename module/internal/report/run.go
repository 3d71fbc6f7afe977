package report

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/backoff"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Of a report that could not be sent.
const (
	maxTries = 6

	// skipPause is until the next try, when the terms of a service allow none and do not say until when.
	skipPause = time.Minute
)

var retryPauses = backoff.Policy{First: time.Minute, Most: 30 * time.Minute}

// Run sends the reports, one after the other, until ctx ends. Of several configurations that run during a reload, one
// does at a time.
func (q *Queue) Run(ctx context.Context, to Outlet) {
	select {
	case q.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-q.turn }()
	var logged throttle.Causes[Outcome]
	for ctx.Err() == nil {
		e, d, wait := q.due(time.Now(), to.Services)
		if d != nil && wait <= 0 {
			q.deliver(ctx, &to, e, d, &logged)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-q.changed:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// deliver makes one attempt to send a report to one service.
func (q *Queue) deliver(ctx context.Context, to *Outlet, e *entry, d *delivery, logged *throttle.Causes[Outcome]) {
	now := time.Now()
	incident, violations, age := q.incident(e, now)
	end := func(o Outcome, why string) {
		ended := q.finish(e, d, o, why, time.Now())
		if ended.Service != "" {
			to.Ended(ended)
			to.log(&ended, logged)
		}
	}
	service := to.service(d.service)
	if why := to.Spared(incident.Addr, violations); why != "" {
		end(Spared, why)
		return
	}
	switch {
	case e.subject.observed:
		end(Shown, "the site only observes: write `mode enforce`")
		return
	case service == nil:
		end(Shown, "no provider says `report yes`")
		return
	case age >= maxAge:
		end(Expired, d.why)
		return
	}
	if why := service.refuses(incident.Addr, incident.Categories); why != "" {
		end(Untaken, why)
		return
	}
	if to.May != nil {
		if may, err := to.May(ctx, service.Name, e.subject.prefix, Quiet); err == nil && !may {
			end(Elsewhere, "")
			return
		}
	}
	err := service.Send(ctx, incident)
	if ctx.Err() != nil && err != nil {
		return // the configuration has ended: the next one tries again
	}
	q.conclude(e, d, err, end)
}

// conclude ends a delivery whose attempt had a result that stays, and puts off one that may pass.
func (q *Queue) conclude(e *entry, d *delivery, err error, end func(Outcome, string)) {
	now := time.Now()
	var skipped *reputation.SkippedError
	var throttled *reputation.ThrottledError
	switch {
	case err == nil:
		end(Sent, "")
	case errors.Is(err, reputation.ErrDuplicate):
		end(Duplicate, "")
	case errors.Is(err, reputation.ErrUnsupported):
		end(Untaken, err.Error())
	case errors.Is(err, reputation.ErrRejected):
		end(Rejected, err.Error())
	case errors.As(err, &skipped):
		due := skipped.Until
		if !due.After(now) {
			due = now.Add(skipPause)
		}
		q.retry(e, d, err.Error(), false, due)
	case d.tries+1 >= maxTries:
		end(Failed, err.Error())
	case errors.As(err, &throttled) && throttled.RetryAfter > 0:
		q.retry(e, d, err.Error(), true, now.Add(throttled.RetryAfter))
	default:
		q.retry(e, d, err.Error(), true, now.Add(backoff.Jitter(retryPauses.Pause(d.tries+1), .8, 1.2)))
	}
}

// service returns the service with a name, or nil.
func (to *Outlet) service(name string) *Service {
	for i := range to.Services {
		if to.Services[i].Name == name {
			return &to.Services[i]
		}
	}
	return nil
}

// log logs what became of a report: each that was sent, of the others one of a kind and minute.
func (to *Outlet) log(r *Report, logged *throttle.Causes[Outcome]) {
	about := []any{
		slog.String("provider", r.Service), slog.Any("address", r.Address), slog.String("categories", r.Categories.String()),
		slog.String("comment", r.Comment), slog.String("visitor_request_id", r.RequestID),
	}
	if r.Outcome == Sent {
		to.Logger.Info("reported an address", about...)
		return
	}
	if !logged.Allow(r.Outcome, time.Now()) {
		return
	}
	about = append(about, slog.String("error", r.Why))
	switch r.Outcome {
	case Rejected:
		to.Logger.Warn("a service does not take a report, which is dropped", about...)
	case Failed:
		to.Logger.Warn("a report could not be sent, and is dropped", about...)
	case Expired:
		to.Logger.Warn("a report could not be sent within an hour, and is dropped", about...)
	}
}
