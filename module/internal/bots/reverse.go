package bots

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/throttle"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	// maxNames is how many names of an address are looked up.
	maxNames = 4

	// lookupTimeout bounds the look-up of a claim, with all its questions.
	lookupTimeout = 3 * time.Second

	workers  = 64
	maxQueue = 256

	// networkJobs is how many look-ups of a network, IPv4 /24 or IPv6 /48, run or wait at a time: its owner may let each
	// take as long as it can.
	networkJobs = 8

	// Look-ups a second, and at once, of all networks together.
	lookupRate  = 100
	lookupBurst = 200
)

// Reverse asks reverse DNS whether addresses have names of bots, in the background, and remembers the answers. The
// same claim is looked up once at a time.
type Reverse struct {
	resolver   Resolver
	logger     *slog.Logger
	panicked   throttle.Causes[struct{}]
	remembered *remembered
	shares     *shares
	rate       *rate.Limiter
	honesty    honesty

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	jobs   map[claimKey]*job    // maxQueue and one for each worker at most
	of     map[netip.Prefix]int // the number of jobs of each network
	queue  []*job
	active int // workers
	closed bool
}

// job is the look-up of one claim.
type job struct {
	key     claimKey
	network netip.Prefix
	done    chan struct{}
}

// NewReverse returns what asks the resolver.
func NewReverse(r Resolver, logger *slog.Logger) *Reverse {
	rev := &Reverse{
		resolver: r, logger: logger, remembered: newRemembered(), shares: newShares(),
		rate: rate.NewLimiter(lookupRate, lookupBurst),
		jobs: make(map[claimKey]*job), of: make(map[netip.Prefix]int),
		honesty: honesty{start: time.Now()},
	}
	rev.ctx, rev.cancel = context.WithCancel(context.Background())
	return rev
}

// Close ends all look-ups, and waits for them.
func (r *Reverse) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.running.Wait()
}

// Hijacked reports whether the resolver answers questions for names that do not exist, so that its answers are no proof
// against anybody.
func (r *Reverse) Hijacked() bool { return r.honesty.known.Load() == hijacked }

// find returns what is known of a claim. When nothing is, it starts a look-up within the bounds, and waits for it until
// wait has passed or ctx ends. A claim that was confirmed a while ago is looked up again, and nobody waits for that.
func (r *Reverse) find(ctx context.Context, key claimKey, wait time.Duration) found {
	f, left := r.remembered.get(key)
	if f == confirmed && r.remembered.isRenewable(key, left) {
		r.start(key)
	}
	if f != pending {
		return f
	}
	j := r.start(key)
	if j == nil || wait <= 0 {
		return pending
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-j.done:
		f, _ = r.remembered.get(key)
		return f
	case <-timer.C:
	case <-ctx.Done():
	}
	return pending
}

// asks reports whether a claim of which nothing is known is being looked up.
func (r *Reverse) asks(key claimKey) bool {
	if f, _ := r.remembered.get(key); f != pending {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.jobs[key] != nil
}

// start returns the job of a claim: one that is there, or a new one. It returns nil if none may be started now.
func (r *Reverse) start(key claimKey) *job {
	r.mu.Lock()
	defer r.mu.Unlock()
	if j := r.jobs[key]; j != nil {
		return j
	}
	network := reputation.Network(key.addr)
	if r.closed || len(r.queue) >= maxQueue || r.of[network] >= networkJobs ||
		!r.shares.take(network) || !r.rate.Allow() {
		return nil
	}
	j := &job{key, network, make(chan struct{})}
	r.jobs[key] = j
	r.of[network]++
	r.queue = append(r.queue, j)
	if r.active < workers {
		r.active++
		r.running.Go(r.work)
	}
	return j
}

// work does jobs until there are none.
func (r *Reverse) work() {
	for {
		r.mu.Lock()
		if len(r.queue) == 0 || r.closed {
			r.active--
			r.mu.Unlock()
			return
		}
		j := r.queue[0]
		if r.queue = r.queue[1:]; len(r.queue) == 0 {
			r.queue = nil
		}
		r.mu.Unlock()
		r.do(j)
	}
}

// do does a job. A panic is a failure.
func (r *Reverse) do(j *job) {
	f := failed
	defer func() {
		if p := recover(); p != nil && r.panicked.Allow(struct{}{}, time.Now()) {
			r.logger.Error("verifying a bot panicked; this is a bug", slog.Any("panic", p))
		}
		r.remembered.learn(j.key, f)
		r.mu.Lock()
		delete(r.jobs, j.key)
		if r.of[j.network]--; r.of[j.network] == 0 {
			delete(r.of, j.network)
		}
		r.mu.Unlock()
		close(j.done)
	}()
	f = r.ask(r.ctx, &table[j.key.bot], j.key.addr).found
}

// names is what DNS says of an address.
type names struct {
	found     found
	all       []string // of the address
	confirmed string   // the name that leads back to the address
	err       error    // why nothing is known
}

var errNoName = errors.New("the answer holds no name")

// ask looks for a name of the bot that leads back to the address.
func (r *Reverse) ask(ctx context.Context, b *Bot, addr netip.Addr) names {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	all, err := r.resolver.LookupAddr(ctx, addr.String())
	n := names{found: missed, all: all}
	switch {
	case err == nil && len(all) == 0:
		n.found, n.err = failed, errNoName
	case err != nil && !notFound(err):
		n.found, n.err = failed, err // some of several names may be malformed: the others are here
	}
	for _, name := range b.namesOf(all) {
		leads, err := r.leadsTo(ctx, name, addr)
		if leads {
			n.found, n.confirmed, n.err = confirmed, name, nil
			break
		}
		if err != nil {
			n.found, n.err = failed, err
		}
	}
	if n.found == failed {
		return n
	}
	// a miss needs a resolver that is known to be honest; a name, one that is not known to lie
	err = r.honesty.check(ctx, r.resolver)
	if errors.Is(err, errHijacked) || err != nil && n.found == missed {
		n.found, n.err = failed, err
	}
	return n
}

// leadsTo reports whether a name has the address. An error means that it is not known.
func (r *Reverse) leadsTo(ctx context.Context, name string, addr netip.Addr) (bool, error) {
	network := "ip6"
	if addr.Is4() {
		network = "ip4"
	}
	found, err := r.resolver.LookupNetIP(ctx, network, name+".") // with the dot, no search domain is tried
	for _, a := range found {
		if a.Unmap().WithZone("") == addr {
			return true, nil
		}
	}
	if err != nil && notFound(err) {
		err = nil
	}
	return false, err
}

// notFound reports whether DNS has answered that there is no such name or record.
func notFound(err error) bool {
	e, ok := errors.AsType[*net.DNSError](err)
	return ok && e.IsNotFound && !e.IsTimeout && !e.IsTemporary
}
