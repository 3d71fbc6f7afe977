package quota

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

type answer struct {
	report reputation.Report
	err    error
}

// checkFunc is Check of a provider, or what stands for it.
type checkFunc func(context.Context, reputation.Query) (reputation.Report, error)

// call calls the provider by check, and waits no longer than the time limit. others are further
// addresses that the call is about.
func (g *Guard) call(
	ctx context.Context, q reputation.Query, check checkFunc, others ...netip.Addr,
) (reputation.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, g.terms.Timeout)
	defer cancel()
	answers := make(chan answer, 1) // buffered, so that a late answer blocks no goroutine
	go g.ask(ctx, q, check, answers, others)
	select {
	case a := <-answers:
		return a.report, a.err
	case <-ctx.Done():
	}
	select {
	case a := <-answers: // Both were ready.
		return a.report, a.err
	default:
		return reputation.Report{}, fmt.Errorf("asking %s: no answer within %s (timeout): %w", g.name, g.terms.Timeout, ctx.Err())
	}
}

// ask calls the provider, and returns when it does. It recovers from a panic, and notices when the
// provider ends the goroutine.
func (g *Guard) ask(
	ctx context.Context, q reputation.Query, check checkFunc, answers chan<- answer, others []netip.Addr,
) {
	a := answer{err: fmt.Errorf("ask %s: the provider ended its goroutine: %w", g.name, reputation.ErrBadAnswer)}
	defer func() {
		if v := recover(); v != nil {
			g.logPanic(ctx, q, v, others)
			a = answer{err: fmt.Errorf("ask %s: the provider panicked: %w", g.name, reputation.ErrBadAnswer)}
		}
		if !noRequestMade(a.err) {
			g.sent(1 + len(others))
		}
		g.budget.release()
		answers <- a
	}()
	report, err := check(ctx, q)
	if err != nil {
		report = reputation.Report{}
		_, _ = reputation.ResultOf(err), err.Error() // its methods are the provider's too, and asked for again outside
	}
	a = answer{report, err}
}

// errNoEvidence makes the breaker ignore a call that is no evidence about the health of the
// service.
var errNoEvidence = errors.New("the call says nothing about the service")

// callerLeft reports whether a call failed because the caller's context had ended.
func callerLeft(ctx context.Context, err error) bool {
	if ctx.Err() == nil {
		return false
	}
	switch reputation.ResultOf(err) {
	case reputation.ResultTimeout, reputation.ResultError, reputation.ResultBadAnswer:
		return true
	}
	return false
}

// noRequestMade reports whether the provider sent no request.
func noRequestMade(err error) bool {
	var skipped *reputation.SkippedError
	return errors.Is(err, reputation.ErrUnsupported) || errors.As(err, &skipped)
}
