// Package clients tells from a sample of requests whether their client addresses can be those of visitors. Where
// nearly all requests are exempt, come from one address or from none, nobody is judged, and every other part looks
// well.
package clients

import (
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The sample.
const (
	OneIn = 8  // requests that are sampled; a power of two
	Size  = 64 // sampled requests until a conclusion, so about 500 requests

	begins = 60 // of Size from which "nearly all" begins
	ends   = 52 // of Size below which it ends: a share at the bound does not begin and end all the time
)

// Probes of load balancers and monitors are often exempt, and come from one address. On a quiet site they can be nearly
// all requests. So a sample counts only if it was complete soon, or if it shows several kinds of browsers.
const (
	busy        = 2 * time.Minute // a sample that is complete so soon is more than probes
	manyAgents  = 5               // different values of User-Agent
	patience    = 24 * time.Hour  // a sample that takes longer is begun anew
	holdsBusy   = 15 * time.Minute
	holdsVaried = 24 * time.Hour
)

// Request is what the sample needs to know of a request.
type Request struct {
	Addr      netip.Addr // unmapped; the zero value if there is none
	Exempt    bool
	Forwarded bool   // a proxy has handed it on that the server does not trust, as a header shows
	Agent     string // its User-Agent
}

// Finding is what nearly all requests of a sample have in common. The zero value is nothing.
type Finding struct {
	Proxy      bool // one address that looks like a proxy
	Exempt     bool // not judged
	OneAddress bool // one address, or one IPv6 /64
	Missing    bool // no address

	Client netip.Prefix // the most frequent address or /64
	Count  int          // how many of Size came from it

	until time.Time // it is forgotten then, unless another sample confirms it
}

// Any reports whether there is something that somebody should look at.
func (f Finding) Any() bool { return f.Proxy || f.Exempt || f.OneAddress || f.Missing }

// Name returns the most frequent client as operators write it.
func (f Finding) Name() string {
	if f.Client.IsSingleIP() {
		return f.Client.Addr().String()
	}
	return f.Client.String()
}

// Watch takes samples. The zero value is ready. It is safe for concurrent use, needs the same memory whatever the
// traffic, and never makes a request wait.
type Watch struct {
	mu      sync.Mutex // a request that would have to wait for it is not sampled
	sample  sample
	finding atomic.Pointer[Finding]
}

// Chosen reports whether a request belongs to the sample.
func Chosen() bool { return rand.Uint32()%OneIn == 0 }

// Add adds a chosen request. When that completes a sample, it returns the findings before and after it.
func (w *Watch) Add(r Request, now time.Time) (before, after Finding, complete bool) {
	if !w.mu.TryLock() {
		return Finding{}, Finding{}, false
	}
	defer w.mu.Unlock()
	if !w.sample.add(r, now) {
		return Finding{}, Finding{}, false
	}
	before = w.Finding(now)
	after, conclusive := w.sample.conclude(before, now)
	w.sample = sample{}
	if !conclusive {
		return before, before, true
	}
	w.finding.Store(new(after))
	return before, after, true
}

// Finding returns what the last conclusive sample has shown. It does not lock.
func (w *Watch) Finding(now time.Time) Finding {
	if f := w.finding.Load(); f != nil && now.Before(f.until) {
		return *f
	}
	return Finding{}
}

// sample is the requests since the last conclusion.
type sample struct {
	began   time.Time
	size    int
	clients [Size]client
	agents  [manyAgents]uint64
	kinds   int // of agents

	exempt, missing int
}

type client struct {
	subject   netip.Prefix
	forwarded bool
}

var seed = maphash.MakeSeed()

// add adds a request, and reports whether the sample is complete.
func (s *sample) add(r Request, now time.Time) bool {
	if s.size > 0 && now.Sub(s.began) > patience {
		*s = sample{}
	}
	if s.size == 0 {
		s.began = now
	}
	if r.Addr.IsValid() {
		s.clients[s.size] = client{reputation.Subject(r.Addr), r.Forwarded}
	} else {
		s.missing++
	}
	if r.Exempt {
		s.exempt++
	}
	s.addAgent(maphash.String(seed, r.Agent))
	s.size++
	return s.size == Size
}

// addAgent counts a kind of browser, as long as there are few.
func (s *sample) addAgent(hash uint64) {
	for _, known := range s.agents[:s.kinds] {
		if known == hash {
			return
		}
	}
	if s.kinds < manyAgents {
		s.agents[s.kinds] = hash
		s.kinds++
	}
}

// conclude returns what the sample shows, and whether it shows anything: one that may hold nothing but probes does
// not.
func (s *sample) conclude(before Finding, now time.Time) (f Finding, conclusive bool) {
	var forwarded int
	f.Client, f.Count, forwarded = s.mostFrequent()
	nearlyAll := func(count int, already bool) bool {
		if already {
			return count >= ends
		}
		return count >= begins
	}
	f.Proxy = nearlyAll(forwarded, before.Proxy)
	f.Exempt = nearlyAll(s.exempt, before.Exempt)
	f.OneAddress = nearlyAll(f.Count, before.OneAddress)
	f.Missing = nearlyAll(s.missing, before.Missing)
	switch {
	case s.kinds >= manyAgents || f.Proxy:
		f.until = now.Add(holdsVaried)
	case now.Sub(s.began) <= busy:
		f.until = now.Add(holdsBusy)
	default:
		return f, !f.Any()
	}
	return f, true
}

// mostFrequent returns the most frequent client, how many requests came from it, and how many of them a proxy has
// handed on.
func (s *sample) mostFrequent() (most netip.Prefix, count, forwarded int) {
	for i := range s.clients {
		subject := s.clients[i].subject
		if !subject.IsValid() {
			continue
		}
		n, f := 0, 0
		for _, c := range s.clients[i:] {
			if c.subject == subject {
				n++
				if c.forwarded {
					f++
				}
			}
		}
		if n > count {
			most, count, forwarded = subject, n, f
		}
	}
	return most, count, forwarded
}
