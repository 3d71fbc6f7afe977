package runtime

import (
	"context"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
)

// startSelfTests tests, in the background, the providers that are believed only while they pass.
func (rt *Runtime) startSelfTests(ctx context.Context) {
	for _, p := range rt.Providers {
		if _, has := p.Guard.NextTest(); has {
			process.Background.Keep(ctx, rt.Logger, "testing provider "+p.Name, p.keepTested)
		}
	}
}

// selfTestPoll is the time between two looks whether a test is due: a new key makes one due at once.
const selfTestPoll = 5 * time.Second

// keepTested probes the provider whenever a test is due, until ctx ends. The guard knows the result.
func (p Provider) keepTested(ctx context.Context) {
	tick := time.NewTicker(selfTestPoll)
	defer tick.Stop()
	for ctx.Err() == nil {
		if due, _ := p.Guard.NextTest(); !due.After(time.Now()) {
			_ = p.Probe(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}
