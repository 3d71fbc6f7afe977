package handler

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history/recorder"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/conduct"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// configDigits are enough to tell one configuration of a site from another.
const configDigits = 12

// recording stores a site's requests in the history. The nil recording does nothing.
type recording struct {
	recorder *recorder.Recorder
	config   string
}

// newRecording returns the recording of a site, nil where the configuration stores no history.
func newRecording(rt *runtime.Runtime, h *Handler) (*recording, error) {
	if rt.Recorder == nil {
		return nil, nil
	}
	config, err := process.Hash([]any{rt.Digest, h})
	if err != nil {
		return nil, fmt.Errorf("naming the configuration: %w", err)
	}
	return &recording{rt.Recorder, config[:configDigits]}, nil
}

// record counts a request. It does not wait, and allocates nothing.
func (c *recording) record(r *http.Request, v *visit) {
	if c == nil {
		return
	}
	c.recorder.Record(history.Event{
		At: time.Now(), Address: v.client, Host: r.Host, Rule: v.decision.by(), Action: v.decision.action, Enforce: v.decision.enforce,
		RequestID: v.requestID, Config: c.config, Verdict: v.verdict,
	})
}

// keep stores a refusal for whoever asks about the request.
func (v *visit) keep(r *http.Request) {
	d := &v.decision
	if d.action == reputation.Pass {
		return
	}
	refusal := runtime.Refusal{
		At: time.Now(), RequestID: v.requestID, Address: v.client, Host: r.Host, Action: d.action, Enforce: d.enforce,
		Rule: d.number(), By: d.by(), Verdict: *v.judged(),
	}
	if d.denied {
		refusal.Lists = v.runtime.Lists.DenyLists(v.client, v.judged().Facts)
	}
	runtime.Refusals.Add(refusal)
}

// text returns the rule as a Caddyfile has it.
func (r *Rule) text() string {
	words := []string{r.Action}
	if r.Limit != "" {
		words = append(words, r.Limit)
	}
	if r.By != "" {
		words = append(words, "by", r.By)
	}
	if r.For != 0 {
		words = append(words, conduct.Span(time.Duration(r.For)))
	}
	for _, condition := range []struct {
		word   string
		values []string
	}{
		{"score", slices.DeleteFunc([]string{r.Score}, func(s string) bool { return s == "" })},
		{"category", r.Category}, {"nature", r.Nature}, {"country", r.Country}, {"continent", r.Continent},
		{"asn", policy.Config(r.Conditions).ASNValues()}, {"network", r.Network},
		{"source", r.Source}, {"status", r.Status},
	} {
		if len(condition.values) > 0 {
			words = append(words, condition.word, strings.Join(condition.values, ","))
		}
	}
	return strings.Join(append(words, r.words()...), " ")
}
