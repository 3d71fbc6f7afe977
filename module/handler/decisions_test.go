package handler

import (
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	zapobserver "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/privacy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// TestSample proves that of the decisions of a second the first are taken and then one in so many, and that none is left
// out without being counted.
func TestSample(t *testing.T) {
	var s sample
	take := func(second int64, n int) (taken []int, counted uint64) {
		for i := range n {
			if leftOut, ok := s.take(second, 3, 10); ok {
				taken, counted = append(taken, i+1), counted+leftOut
			}
		}
		return taken, counted
	}
	taken, counted := take(1, 30)
	if diff := cmp.Diff([]int{1, 2, 3, 13, 23}, taken); diff != "" || counted != 18 {
		t.Errorf("left out %d, want 18; taken (-want +got):\n%s", counted, diff)
	}
	taken, counted = take(2, 4)
	if diff := cmp.Diff([]int{1, 2, 3}, taken); diff != "" || counted != 7 {
		t.Errorf("the next second: left out %d, want the 7 of before; taken (-want +got):\n%s", counted, diff)
	}
}

func TestSampleOfMany(t *testing.T) {
	var s sample
	var all, taken, counted atomic.Uint64
	var working sync.WaitGroup
	for range 8 {
		working.Go(func() {
			for i := range 10_000 {
				all.Add(1)
				if leftOut, ok := s.take(int64(i/1000), 5, 100); ok {
					taken.Add(1)
					counted.Add(leftOut)
				}
			}
		})
	}
	working.Wait()
	if got := taken.Load() + counted.Load() + s.leftOut.Load(); got != all.Load() {
		t.Errorf("%d taken and %d left out of %d", taken.Load(), counted.Load()+s.leftOut.Load(), all.Load())
	}
}

// decisionLogOf returns a log that keeps its entries.
func decisionLogOf(tb testing.TB, settings *DecisionLog, p *privacy.Policy) (*decisionLog, *zapobserver.ObservedLogs) {
	tb.Helper()
	core, entries := zapobserver.New(zapcore.InfoLevel)
	d, err := newDecisionLog(settings, zap.New(core), p)
	if err != nil {
		tb.Fatal(err)
	}
	return d, entries
}

// decisionLogTo returns a log of all decisions.
func decisionLogTo(tb fataler, core zapcore.Core) *decisionLog {
	tb.Helper()
	d, err := newDecisionLog(&DecisionLog{Decisions: "all"}, zap.New(core), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func decided(action reputation.Action, rule *siteRule) *visit {
	return &visit{
		client: netip.MustParseAddr("203.0.113.7"), decision: decision{action: action, rule: rule}, requestID: "an-id",
		verdict: reputation.Verdict{
			Score: 91, Scored: true, Coverage: 0.5, Origin: reputation.OriginMemory, Status: reputation.Partial,
			Facts: reputation.Facts{Country: "NL", ASN: 64500, ASName: "Example Net"},
			Reasons: []reputation.Reason{
				{Source: "abuseipdb", Points: 28.8000001, Age: time.Hour}, {Source: "ipsum", Points: 2.44},
				{Source: "greynoise", Points: 1, Network: true},
			},
		},
	}
}

func TestWhichDecisionsAreLogged(t *testing.T) {
	for _, tc := range []struct {
		word string
		want string
	}{{"", "limit block ban drop"}, {"blocked", "limit block ban drop"}, {"all", "pass limit block ban drop"}, {"none", ""}} {
		d, entries := decisionLogOf(t, &DecisionLog{Decisions: tc.word}, nil)
		for action := range reputation.Action(reputation.NumActions) {
			d.log(prepared(t, "203.0.113.7")(), decided(action, &siteRule{number: 1}))
		}
		var got []string
		for _, e := range entries.All() {
			got = append(got, e.ContextMap()["ip_reputation"].(map[string]any)["action"].(string))
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("log %s: %q, want %q", tc.word, got, tc.want)
		}
	}
}

// TestDecisionEntry pins the names and the form of all that is said of a decision.
func TestDecisionEntry(t *testing.T) {
	cut, err := privacy.Truncate(24, 48)
	if err != nil {
		t.Fatal(err)
	}
	d, entries := decisionLogOf(t, &DecisionLog{First: 1, OneIn: 3}, cut)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		"http://app.example.com/of/203.0.113.7/"+strings.Repeat("a", 300)+"?token=s3cret", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	rule := &siteRule{number: 2}
	for range 4 {
		d.log(r, decided(reputation.Block, rule))
	}
	all := entries.All()
	if len(all) != 2 || all[0].Message != "decision" || all[0].ContextMap()["left_out"] != nil {
		t.Fatalf("%d entries, the first %+v", len(all), all)
	}
	want := map[string]any{
		"request_id": "an-id",
		"request": map[string]any{
			"client_ip": "203.0.113.0/24", "method": "POST", "host": "app.example.com",
			"uri": "/of/203.0.113.0/24/" + strings.Repeat("a", maxLogged-len("/of/203.0.113.0/24/")),
		},
		"ip_reputation": map[string]any{
			"score": uint8(91), "status": "partial", "action": "block", "mode": "observe", "rule": 2,
			"reasons": "abuseipdb;points=28.8;age=3600, ipsum;points=2.4, greynoise;points=1.0;network",
			"origin":  "memory", "coverage": 0.5, "country": "NL", "asn": uint32(64500), "as_name": "Example Net",
			"sources": []any{
				map[string]any{"source": "abuseipdb", "points": 28.8, "age": int64(3600)},
				map[string]any{"source": "ipsum", "points": 2.4},
				map[string]any{"source": "greynoise", "points": 1., "network": true},
			},
		},
		"left_out": uint64(2),
	}
	if diff := cmp.Diff(want, all[1].ContextMap()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestDecisionsOfNobodyAreFree proves that a log which does not want a decision costs it nothing.
func TestDecisionsOfNobodyAreFree(t *testing.T) {
	blocked, _ := decisionLogOf(t, nil, nil)
	none, _ := decisionLogOf(t, &DecisionLog{Decisions: "none"}, nil)
	r, v := prepared(t, "203.0.113.7")(), decided(reputation.Pass, new(siteRule))
	for name, d := range map[string]*decisionLog{"none": none, "blocked": blocked} {
		if n := testing.AllocsPerRun(100, func() { d.log(r, v) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkDecisionLog measures what the log costs a request: one that it does not want, one that is left out of the
// sample, and one that is written.
func BenchmarkDecisionLog(b *testing.B) {
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(nowhere{}), zapcore.InfoLevel)
	for name, tc := range map[string]struct {
		settings *DecisionLog
		action   reputation.Action
	}{
		"none":     {&DecisionLog{Decisions: "none"}, reputation.Block},
		"unwanted": {nil, reputation.Pass},
		"left out": {&DecisionLog{First: 1, OneIn: 1 << 60}, reputation.Block},
		"written":  {&DecisionLog{OneIn: 1}, reputation.Block},
	} {
		d, err := newDecisionLog(tc.settings, zap.New(core), nil)
		if err != nil {
			b.Fatal(err)
		}
		r, v := prepared(b, "203.0.113.7")(), decided(tc.action, &siteRule{number: 1})
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				d.log(r, v)
			}
		})
	}
}

type nowhere struct{}

func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
