package crowdsec

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/backoff"
)

// reportEvery is how often the API is told what was done: it sums the counts up.
const reportEvery = 15 * time.Minute

// traffic counts requests since the last report. It is changed on the way of each request.
type traffic struct {
	processed [numFamilies]atomic.Uint64
	dropped   [numOrigins][numRemediations][numFamilies]atomic.Uint64
}

const numFamilies = 2

var familyWords = [numFamilies]string{"ipv4", "ipv6"}

func familyOf(addr netip.Addr) int {
	if addr.Is4() || addr.Is4In6() {
		return 0
	}
	return 1
}

// CountRequest counts a request of the given address.
func (c *Client) CountRequest(addr netip.Addr) { c.traffic.processed[familyOf(addr)].Add(1) }

// CountRefused counts a request, which is counted as one, as refused because of the decisions of a
// part of the list. The remediation is what was done about it.
func (c *Client) CountRefused(addr netip.Addr, part int, done Remediation) {
	c.traffic.dropped[originIn(part)][done][familyOf(addr)].Add(1)
}

// Report tells the API what was done, every quarter of an hour until ctx ends, so that
// `cscli metrics` shows it. A failure changes nothing else.
func (c *Client) Report(ctx context.Context) {
	since, failed := c.started, false
	for {
		timer := time.NewTimer(backoff.Jitter(reportEvery, 1, 1.05))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		now := time.Now()
		switch status, err := c.report(ctx, since, now); {
		case ctx.Err() != nil:
			return
		case status == http.StatusNotFound:
			c.Logger.Info("this CrowdSec takes no metrics of bouncers: from version 1.6.3 on, it does", "feed", c.Name)
			<-ctx.Done()
			return
		case err != nil && !failed:
			failed = true
			c.Logger.Warn("crowdsec does not take the metrics; they are sent later", "feed", c.Name, "error", err)
		case err == nil:
			since, failed = now, false
		}
	}
}

// report sends one report. What it holds is subtracted once the API has taken it.
func (c *Client) report(ctx context.Context, since, now time.Time) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	items, taken := c.counts()
	body, err := json.Marshal(usageMetrics{Components: []component{{
		Type: "caddy-ip-reputation", Version: c.version, FeatureFlags: []string{}, Started: c.started.Unix(),
		Metrics: []window{{
			Meta:  windowMeta{Seconds: max(int64(now.Sub(since).Seconds()), 1), Now: now.Unix()},
			Items: append(items, c.active()...),
		}},
	}}})
	if err != nil {
		return 0, err
	}
	resp, err := c.send(ctx, http.MethodPost, "usage-metrics", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return resp.StatusCode, statusError(resp)
	}
	taken()
	return resp.StatusCode, nil
}

// The members of a report. There is exactly one component.
type (
	usageMetrics struct {
		Components []component `json:"remediation_components"`
	}
	component struct {
		Type         string   `json:"type"`
		Version      string   `json:"version"`
		FeatureFlags []string `json:"feature_flags"`
		Started      int64    `json:"utc_startup_timestamp"`
		Metrics      []window `json:"metrics"`
	}
	window struct {
		Meta  windowMeta `json:"meta"`
		Items []item     `json:"items"`
	}
	windowMeta struct {
		Seconds int64 `json:"window_size_seconds"`
		Now     int64 `json:"utc_now_timestamp"`
	}
	item struct {
		Name   string            `json:"name"`
		Value  uint64            `json:"value"`
		Unit   string            `json:"unit"`
		Labels map[string]string `json:"labels"`
	}
)

// counts returns what was counted since the last report, and what subtracts that.
func (c *Client) counts() (items []item, taken func()) {
	var subtract []func()
	add := func(counter *atomic.Uint64, it item) {
		n := counter.Load()
		if n == 0 {
			return
		}
		it.Value = n
		items = append(items, it)
		subtract = append(subtract, func() { counter.Add(-n) })
	}
	for family, word := range familyWords {
		add(&c.traffic.processed[family], item{
			Name: "processed", Unit: "request", Labels: map[string]string{"ip_type": word},
		})
		for origin := range origins {
			for done := range remediationWords {
				add(&c.traffic.dropped[origin][done][family], item{
					Name: "dropped", Unit: "request",
					Labels: map[string]string{
						"origin": origins[origin], "remediation": Remediation(done).String(), "ip_type": word,
					},
				})
			}
		}
	}
	return items, func() {
		for _, f := range subtract {
			f()
		}
	}
}

// active returns how many decisions are in force.
func (c *Client) active() (items []item) {
	sizes, err := c.list.PartSizes(c.Name)
	if err != nil {
		return nil // the list is closed
	}
	var byOrigin [numOrigins][numFamilies]int
	for part, size := range sizes {
		origin := originIn(part)
		byOrigin[origin][0] += size.IPv4
		byOrigin[origin][1] += size.IPv6
	}
	for origin, families := range byOrigin {
		for family, n := range families {
			if n > 0 || c.reported[origin][family] { // the API shows the last value that it was told
				c.reported[origin][family] = true
				items = append(items, item{
					Name: "active_decisions", Value: uint64(n), Unit: "ip",
					Labels: map[string]string{"origin": origins[origin], "ip_type": familyWords[family]},
				})
			}
		}
	}
	return items
}
