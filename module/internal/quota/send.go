package quota

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// checkTogether makes the call as part of a request. The call was taken from its windows at a time.
func (r *Reservation) checkTogether(
	ctx context.Context, q reputation.Query, taken time.Time,
) (reputation.Report, error) {
	g := r.guard
	o, sent := g.batches.check(ctx, q)
	if !sent || noRequestMade(o.Err) {
		g.refund(ctx, r.terms, taken)
		g.budget.refundNetwork(r.terms, r.network, r.at)
	}
	if !callerLeft(ctx, o.Err) {
		g.observe(g.name, reputation.ResultOf(o.Err), o.took)
	}
	return o.Report, o.Err
}

// check adds a call to those who wait, and waits for its answer. sent reports whether it has gone out. If no request
// can be made in time, the call is skipped.
func (b *batches) check(ctx context.Context, q reputation.Query) (o outcome, sent bool) {
	c := b.push(ctx, q)
	defer b.end(c)
	patience := time.NewTimer(time.Until(c.until))
	defer patience.Stop()
	for {
		select {
		case o = <-c.ended:
			return o, true
		case <-ctx.Done():
			sent = !b.leave(c)
			select {
			case o = <-c.ended: // both were ready
			default:
				o.Err = fmt.Errorf("ask %s: %w", b.guard.name, ctx.Err())
			}
			return o, sent
		case now := <-patience.C:
			if b.withdraw(c) {
				o.Err = refusal{reason: busy, until: now.Add(busyRetry)}.err()
				return o, false
			}
		}
	}
}

// send makes a request, and gives each of its calls the answer.
func (b *batches) send(r *request) {
	defer r.cancel()
	answers, took := b.exchange(r)
	b.dispatchSafely() // there is room for another request
	for i, c := range r.calls {
		o := outcome{took: took}
		if o.Err = fmt.Errorf("ask %s: the request failed because of a bug", b.guard.name); i < len(answers) {
			o.Answer = answers[i]
		}
		c.ended <- o
	}
}

// exchange makes a request, and records its outcome. It returns the answers of the calls that are left: none if the
// request has to wait.
func (b *batches) exchange(r *request) (answers []reputation.Answer, took time.Duration) {
	defer func() {
		if v := recover(); v != nil {
			b.logBug(v)
		}
	}()
	g := b.guard
	began := time.Now()
	if refused := g.take(r.ctx, b.request, began); refused.reason != allowed {
		g.budget.release()
		g.budget.record(r.done, fingerprint(r.key), errNoEvidence, began, began)
		if refused.until.After(began) {
			b.postpone(r, refused.until)
			return nil, 0
		}
		return repeated(reputation.Answer{Err: refused.err()}, len(r.calls)), 0
	}
	answers, err := b.ask(r)
	now := time.Now()
	took = now.Sub(began)
	b.record(r, answers, err, began, now)
	if err != nil {
		answers = repeated(reputation.Answer{Err: err}, len(r.calls))
	}
	return answers, took
}

// record records the outcome of a request, which is one for all of its calls.
func (b *batches) record(r *request, answers []reputation.Answer, err error, began, now time.Time) {
	g, key := b.guard, fingerprint(r.key)
	if callerLeft(r.ctx, err) && now.Sub(began) < g.terms.Timeout {
		g.budget.record(r.done, key, errNoEvidence, began, now)
		return
	}
	var failed error // of single addresses
	if err == nil {
		err, failed = outcomeOf(answers)
	}
	q, others := r.query()
	changed := g.budget.record(r.done, key, err, began, now)
	g.keepError(err, q, others...)
	if g.logOutcome(r.ctx, q, err, changed, now, others...); failed != nil {
		g.logOutcome(r.ctx, q, failed, change{}, now, others...)
	}
	g.notifyChange(changed, err, began)
}

// outcomeOf returns what the answers about single addresses say of the service: that it works if it has answered about
// one of them, unless it refuses the key or asks for a pause. If it works, failed is an error of another address.
func outcomeOf(answers []reputation.Answer) (outcome, failed error) {
	answered := false
	for _, a := range answers {
		switch result := reputation.ResultOf(a.Err); {
		case result == reputation.ResultRefused || result == reputation.ResultThrottled:
			return a.Err, nil
		case result.Answered():
			answered = answered || !noRequestMade(a.Err)
		case failed == nil:
			failed = a.Err
		}
	}
	switch {
	case answered:
		return nil, failed
	case failed != nil:
		return failed, nil
	}
	return reputation.ErrUnsupported, nil // of all of them
}

// ask asks the service. A single address is asked about as if there were no batches. Either there is an answer for each
// call, or an error.
func (b *batches) ask(r *request) ([]reputation.Answer, error) {
	g := b.guard
	q, others := r.query()
	if len(others) == 0 {
		report, err := g.call(r.ctx, q, g.provider.Check)
		return []reputation.Answer{{Report: report, Err: err}}, err
	}
	var answers []reputation.Answer
	_, err := g.call(r.ctx, q, func(ctx context.Context, q reputation.Query) (reputation.Report, error) {
		got, err := b.batcher.CheckAll(ctx, q.Key, append([]netip.Addr{q.Addr}, others...))
		switch result := reputation.ResultOf(err); {
		case err != nil && result.Answered() && !noRequestMade(err):
			err = fmt.Errorf("%w: it says nothing of single addresses", reputation.ErrBadAnswer)
		case err == nil && len(got) != len(others)+1:
			err = fmt.Errorf("%w: the provider has %d answers about %d addresses",
				reputation.ErrBadAnswer, len(got), len(others)+1)
		case err == nil:
			answers = complete(got)
		}
		return reputation.Report{}, err
	}, others...)
	if err != nil {
		return nil, err // the provider may still write answers
	}
	return answers, nil
}

// complete returns a copy of the answers of a provider. It calls the methods of its errors here, where they may panic.
func complete(got []reputation.Answer) []reputation.Answer {
	answers := slices.Clone(got)
	for i := range answers {
		if err := answers[i].Err; err != nil {
			answers[i].Report = reputation.Report{}
			_, _ = reputation.ResultOf(err), err.Error()
		}
	}
	return answers
}

// query returns the question about the first address, and the other addresses.
func (r *request) query() (reputation.Query, []netip.Addr) {
	others := make([]netip.Addr, 0, len(r.calls)-1)
	for _, c := range r.calls[1:] {
		others = append(others, c.addr)
	}
	return reputation.Query{Addr: r.calls[0].addr, Key: r.key}, others
}

func repeated(a reputation.Answer, n int) []reputation.Answer {
	return slices.Repeat([]reputation.Answer{a}, n)
}
