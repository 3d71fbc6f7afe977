package crowdsec

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// reporting runs Report until the test ends.
func (b *bench) reporting() {
	ctx, cancel := context.WithCancel(b.t.Context())
	var running sync.WaitGroup
	running.Go(func() { b.Report(ctx) })
	b.t.Cleanup(func() { cancel(); running.Wait() })
}

// sums returns the reported values by name and labels, since the last call.
func (b *bench) sums() map[string]int {
	b.t.Helper()
	b.api.mu.Lock()
	defer b.api.mu.Unlock()
	sums := map[string]int{}
	for _, text := range b.api.posted {
		var report struct {
			Components []struct {
				Type, Version string
				FeatureFlags  []string `json:"feature_flags"`
				Started       int64    `json:"utc_startup_timestamp"`
				Metrics       []struct {
					Meta  map[string]int64
					Items []struct {
						Name, Unit string
						Value      int
						Labels     map[string]string
					}
				}
			} `json:"remediation_components"`
		}
		if err := json.Unmarshal([]byte(text), &report); err != nil || len(report.Components) != 1 || len(report.Components[0].Metrics) != 1 {
			b.t.Fatalf("%v: %s", err, text)
		}
		c := report.Components[0]
		meta := c.Metrics[0].Meta
		if c.Type == "" || c.Version != "v1" || c.FeatureFlags == nil || c.Started <= 0 || meta["window_size_seconds"] <= 0 || meta["utc_now_timestamp"] <= 0 {
			b.t.Errorf("report %s", text)
		}
		for _, it := range c.Metrics[0].Items {
			key := strings.Join([]string{it.Name, it.Unit, it.Labels["origin"], it.Labels["remediation"], it.Labels["ip_type"]}, " ")
			if it.Name == "active_decisions" {
				sums[key] = it.Value
			} else {
				sums[key] += it.Value
			}
		}
	}
	b.api.posted = nil
	return sums
}

func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(logtest.Log)
		b := newBench(t, func(c *Config, _ *feed.Spec) { c.Logger = log.Logger() })
		v4, v6 := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1")
		b.api.then(banned(1, 4))
		if err := b.pull(t.Context(), new(state)); err != nil {
			t.Fatal(err)
		}
		b.reporting()
		for range 10 {
			b.CountRequest(v4)
		}
		b.CountRequest(v6)
		b.CountRefused(v4, int(partOf(4, Captcha, reputation.Spam)), Ban)
		b.CountRefused(v6, int(partOf(0, Ban, reputation.Spam)), Throttle)

		// until the API takes a report, nothing is forgotten
		b.api.then(text(400, "bad"))
		time.Sleep(40 * time.Minute)
		want := map[string]int{
			"processed request   ipv4": 10, "processed request   ipv6": 1, "dropped request CAPI ban ipv4": 1,
			"dropped request crowdsec throttle ipv6": 1, "active_decisions ip crowdsec  ipv4": 3,
		}
		first := b.sums()
		for key := range first {
			if !strings.HasPrefix(key, "active") {
				first[key] /= 2 // there were two reports
			}
		}
		if diff := cmp.Diff(want, first); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if n := strings.Count(log.Take(), "does not take the metrics"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		b.api.then(text(201, ""))
		b.CountRequest(v4)
		time.Sleep(16 * time.Minute)
		want["processed request   ipv4"] = 11
		if diff := cmp.Diff(want, b.sums()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		b.CountRequest(v4)
		b.api.then(text(201, ""))
		time.Sleep(32 * time.Minute)
		time.Sleep(time.Hour) // the decisions have ended
		got := b.sums()
		if got["processed request   ipv4"] != 1 || got["processed request   ipv6"] != 0 || got["active_decisions ip crowdsec  ipv4"] != 0 {
			t.Errorf("afterwards: %v", got)
		}

		// an API that takes none is left alone
		b.api.then(text(404, ""))
		time.Sleep(3 * time.Hour)
		b.api.mu.Lock()
		n := len(b.api.posted)
		b.api.mu.Unlock()
		if n != 1 || strings.Count(log.String(), "takes no metrics") != 1 {
			t.Errorf("%d reports, log %s", n, log)
		}
	})
}
