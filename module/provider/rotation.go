package provider

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	refresh "github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/worth"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// keyed puts a key into every query: the first that the service accepts.
type keyed struct {
	*quota.Guard
	keys   *refresh.Ring // nil for a service that is asked without
	logger *slog.Logger
	logged *throttle.Causes[string]

	// notify is told that no key is accepted, and until when.
	notify func(fingerprints []string, until time.Time)

	// until when all keys are set aside, as of the last event, in nanoseconds: most calls emit none
	notifiedUntil *atomic.Int64
}

// Reserve implements lookup.Gate. It reserves a call with the first key that is not set aside.
func (k keyed) Reserve(addr netip.Addr, bid worth.Bid, now time.Time) (lookup.Reservation, reputation.Result, bool) {
	if k.keys == nil {
		return k.reserve("", addr, bid, now)
	}
	for key := range k.keys.Each {
		if k.RefusedUntil(key).IsZero() {
			return k.reserve(key, addr, bid, now)
		}
	}
	return nil, reputation.ResultSkippedBreaker, false
}

func (k keyed) reserve(
	key string, addr netip.Addr, bid worth.Bid, now time.Time,
) (lookup.Reservation, reputation.Result, bool) {
	r, why, waits := k.Guard.Reserve(key, addr, bid, now)
	if r == nil {
		return nil, why, waits
	}
	return &reservation{Reservation: r, provider: k, key: key}, why, waits
}

// reservation is a call that may be made with a key.
type reservation struct {
	*quota.Reservation
	provider keyed
	key      string
	used     bool
}

// Check implements lookup.Reservation.
func (r *reservation) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	defer func() {
		if !r.used {
			r.Cancel() // the key is gone, or was set aside meanwhile
		}
	}()
	return r.provider.check(ctx, q, func(ctx context.Context, q reputation.Query) (reputation.Report, error) {
		if r.used || q.Key != r.key {
			return r.provider.Guard.Check(ctx, q)
		}
		r.used = true
		return r.Reservation.Check(ctx, q)
	})
}

// Check implements reputation.Provider.
func (k keyed) Check(ctx context.Context, q reputation.Query) (reputation.Report, error) {
	return k.check(ctx, q, k.Guard.Check)
}

// probe asks the service something harmless, with the first key that it accepts.
func (k keyed) probe(ctx context.Context) error {
	if k.keys == nil {
		return k.Probe(ctx, "")
	}
	_, err := k.check(ctx, reputation.Query{}, func(ctx context.Context, q reputation.Query) (reputation.Report, error) {
		return reputation.Report{}, k.Probe(ctx, q.Key)
	})
	return err
}

// check asks the service by ask, which makes one call with the query's key. A refused key is fetched
// anew at once, for the next call, and this one goes on with the next key. When all are set aside there is
// no call: nobody is asked again and again with what was refused.
func (k keyed) check(
	ctx context.Context, q reputation.Query, ask func(context.Context, reputation.Query) (reputation.Report, error),
) (reputation.Report, error) {
	if k.keys == nil {
		report, err := ask(ctx, q)
		if errors.Is(err, reputation.ErrRefused) {
			k.logRefused()
			k.notify(nil, k.RefusedUntil(""))
		}
		return report, err
	}
	var until time.Time // when the first of the keys that are set aside is tried again
	setAside := func(pause time.Time) {
		if until.IsZero() || pause.Before(until) {
			until = pause
		}
	}
	var refused error
	for key, refresher := range k.keys.Each {
		if pause := k.RefusedUntil(key); !pause.IsZero() {
			setAside(pause)
			continue
		}
		q.Key = key
		report, err := ask(ctx, q)
		if !errors.Is(err, reputation.ErrRefused) {
			return report, err
		}
		refused = err
		setAside(k.RefusedUntil(key))
		refresher.Refresh()
	}
	k.notifyRefused(until)
	if refused != nil {
		k.logRefused()
		return reputation.Report{}, refused
	}
	return reputation.Report{}, k.Skip(until)
}

// nobody is whom a service without a probe is asked about to see whether it answers: a public resolver, which most
// services know and which is no visitor.
var nobody = netip.AddrFrom4([4]byte{9, 9, 9, 9})

// askAboutNobody is the probe of a service that has none. That it knows nothing of the address is an answer, too.
func (k keyed) askAboutNobody(ctx context.Context) error {
	_, err := k.Check(ctx, reputation.Query{Addr: nobody})
	if errors.Is(err, reputation.ErrUnknown) {
		return nil
	}
	return err
}

// logRefused logs, once a minute, that no key is left, or that the service refuses although it has none. A single
// refused key is logged by quota.
func (k keyed) logRefused() {
	if !k.logged.Allow("refused", time.Now()) {
		return
	}
	if k.keys == nil {
		k.logger.Error("the provider refuses to answer, so it is not asked", slog.String("error", k.Guard.Status().LastError))
		return
	}
	k.logger.Error("no key of the provider is accepted, so it is not asked: give it one that is, which is used at once")
}

// notifyRefused emits an event when all keys are set aside, once for each pause.
func (k keyed) notifyRefused(until time.Time) {
	if until.IsZero() || k.notifiedUntil.Swap(until.UnixNano()) == until.UnixNano() {
		return
	}
	var fingerprints []string
	for key := range k.keys.Each {
		fingerprints = append(fingerprints, refresh.Fingerprint(key))
	}
	k.notify(fingerprints, until)
}
