package quota

import (
	"math"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota/ledger"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/rate"
)

// Defaults of Terms.
const (
	DefaultConcurrency = 4
	DefaultTimeout     = 2 * time.Second
)

// Terms are the limits for using a provider.
type Terms struct {
	// Windows are the quotas. A call is made only if all of them have room for it. Default: none.
	Windows []ledger.Window

	// Rate bounds how fast calls follow each other. Default: unlimited.
	Rate rate.Rate

	// Burst is the part of each quota, up to 1, that is available at the beginning of its window.
	// The rest becomes available evenly until the end. Quotas of up to 10 calls, and those of a
	// minute, are available at once. Default: 1.
	Burst float64

	// NetworkShare is the part of each quota, up to 1, that calls about one IPv4 /24 or IPv6 /48
	// may use, as counted by this process: a part of what Burst has made available, and of few calls
	// a tenth, up to 10. Without a quota, it is that part of 50,000 calls an hour. Default: 1.
	NetworkShare float64

	// FirstCome means that calls are made whatever they are worth, as long as there are any: see price.
	FirstCome bool

	// Concurrency is how many calls may run at the same time. Default: 4.
	Concurrency int

	// shares means that the call shares a request, which is admitted for itself: see batches.
	shares bool

	// Timeout is how long an answer may take. Default: 2s.
	Timeout time.Duration
}

func (t Terms) withDefaults() Terms {
	if t.Concurrency <= 0 {
		t.Concurrency = DefaultConcurrency
	}
	if t.Timeout <= 0 {
		t.Timeout = DefaultTimeout
	}
	return t
}

// limits are what the ledger enforces.
func (t Terms) limits() ledger.Limits {
	return ledger.Limits{Windows: t.Windows, Rate: t.Rate, Burst: t.Burst}
}

// urgent returns the terms for a call that an operator asks for. The quota holds, but the call need
// not wait for its time, and takes nothing from its network's share.
func (t Terms) urgent() Terms {
	t.Burst, t.NetworkShare = 1, 1
	return t
}

// CallsPerDay returns how many calls all windows together allow in a day, 0 if there are none.
func (t Terms) CallsPerDay() float64 {
	if len(t.Windows) == 0 {
		return 0
	}
	calls := math.Inf(1)
	for _, w := range t.Windows {
		calls = min(calls, w.PerDay())
	}
	return calls
}
