package lookup

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

type requestName struct{}

// notes is a tracer that takes notes.
type notes struct {
	mu  sync.Mutex
	all []string
}

func (n *notes) say(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, text)
}

func nameOf(ctx context.Context) string {
	name, _ := ctx.Value(requestName{}).(string)
	return name
}

func (n *notes) Start(base, request context.Context) (context.Context, func(reputation.Origin)) {
	n.say(nameOf(request) + " asks")
	return context.WithValue(base, requestName{}, nameOf(request)), func(origin reputation.Origin) {
		n.say(nameOf(request) + " was answered by " + origin.String())
	}
}

func (n *notes) Wait(request, look context.Context) func(reputation.Verdict, bool) {
	n.say(nameOf(request) + " waits for what " + nameOf(look) + " asked")
	return func(v reputation.Verdict, done bool) {
		if done {
			n.say(nameOf(request) + " knows: " + v.Status.String())
		} else {
			n.say(nameOf(request) + " goes on: " + v.Status.String())
		}
	}
}

// keptBy notes who shares an answer.
type keptBy struct {
	blackboard
	n *notes
}

func (k keptBy) Store(ctx context.Context, key record.Key, source string, r reputation.Report, fetched, due time.Time) error {
	k.n.say("shared for " + nameOf(ctx))
	return k.blackboard.Store(ctx, key, source, r, fetched, due)
}

// Each wait and each look-up has one beginning and one end, and all that a look-up does is done with what it knows of the
// request that started it, which may be gone by then.
func TestLookupsAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := new(notes)
		p := &provideFunc{check: func(ctx context.Context, _ netip.Addr) (reputation.Report, error) {
			n.say("called for " + nameOf(ctx))
			time.Sleep(100 * time.Millisecond)
			return abusive, ctx.Err()
		}}
		e := newEngine(t, Config{
			Providers: []Provider{asked("p", p)}, Tracer: n, Shared: keptBy{blackboard{newBoard(), "one"}, n},
		})
		request := func(name string) context.Context { return context.WithValue(t.Context(), requestName{}, name) }
		first, gone := context.WithCancel(request("first"))
		e.Lookup(first, client, 10*time.Millisecond)
		gone()
		e.Lookup(request("second"), client, 0) // does not wait
		e.Lookup(request("third"), client, time.Second)
		synctest.Wait()
		e.Lookup(request("fourth"), client, time.Second) // from memory
		want := map[string]int{
			"first asks": 1, "first waits for what first asked": 1, "called for first": 1, "first goes on: pending": 1,
			"third waits for what first asked": 1, "first was answered by provider": 1, "third knows: fresh": 1, "shared for first": 1,
		}
		for _, note := range n.all {
			want[note]--
		}
		for note, missing := range want {
			if missing != 0 {
				t.Errorf("%q: %d missing; all: %q", note, missing, n.all)
			}
		}
	})
}
