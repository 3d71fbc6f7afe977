package providertest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// batcher is a service that is asked about several addresses, written as the contract says, with a place for each
// mistake.
type batcher struct {
	*service
	send  func(ctx context.Context, b *batcher, key string, addrs []netip.Addr) ([]byte, error)
	match func(body []byte, addrs []netip.Addr) ([]reputation.Answer, error)
}

func (b *batcher) CheckAll(ctx context.Context, key string, addrs []netip.Addr) ([]reputation.Answer, error) {
	if key == "" || strings.Contains(key, "\n") {
		return nil, reputation.ErrRefused
	}
	body, err := b.send(ctx, b, key, addrs)
	if err != nil {
		return nil, err
	}
	return b.match(body, addrs)
}

func send(ctx context.Context, b *batcher, key string, addrs []netip.Addr) ([]byte, error) {
	question, _ := json.Marshal(addrs)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+"/bulk", bytes.NewReader(question))
	if err != nil {
		panic(err)
	}
	req.Header.Set("X-Key", key)
	resp, err := b.transport.RoundTrip(req)
	if err != nil {
		return nil, bare(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, b.limit))
	switch {
	case err != nil:
		return nil, bare(ctx, err)
	case resp.StatusCode != http.StatusOK:
		return nil, classify(resp, body)
	case resp.Header.Get("Content-Type") != "application/json":
		return nil, reputation.ErrBadAnswer
	}
	return body, nil
}

type entry struct {
	IP   string   `json:"ip"`
	Risk *float64 `json:"risk"`
}

func (e *entry) report() reputation.Answer {
	if e.Risk == nil {
		return reputation.Answer{Err: reputation.ErrBadAnswer}
	}
	return reputation.Answer{Report: reputation.Report{Severity: *e.Risk, Confidence: 0.5}}
}

// matched matches entries by their address.
func matched(body []byte, addrs []netip.Addr) ([]reputation.Answer, error) {
	var raw []json.RawMessage
	if json.Unmarshal(body, &raw) != nil {
		return nil, reputation.ErrBadAnswer
	}
	answers, times := make([]reputation.Answer, len(addrs)), make([]int, len(addrs))
	for _, text := range raw {
		var e entry
		_ = json.Unmarshal(text, &e)
		addr, _ := netip.ParseAddr(e.IP)
		if i := slices.Index(addrs, addr); i >= 0 {
			answers[i] = e.report()
			times[i]++
		}
	}
	for i, n := range times {
		if n != 1 {
			answers[i] = reputation.Answer{Err: reputation.ErrBadAnswer}
		}
	}
	return answers, nil
}

// batchConfig describes the service in one of its forms.
func batchConfig(flaw func(*batcher)) Config {
	c := config(nil)
	plain := c.New
	c.New = func(tb testing.TB, url string) reputation.Provider {
		b := &batcher{plain(tb, url).(*service), send, matched}
		b.profile.Batch = 10
		flaw(b)
		return b
	}
	c.Batch = &Batch{
		Entries: []Entry{
			{Addr: netip.MustParseAddr("203.0.113.7"), Body: `{"ip":"203.0.113.7","risk":0.9}`, Report: reputation.Report{Severity: .9, Confidence: .5}},
			{Addr: netip.MustParseAddr("203.0.113.8"), Body: `{"ip":"203.0.113.8","risk":0.2}`, Report: reputation.Report{Severity: .2, Confidence: .5}},
			{Addr: netip.MustParseAddr("203.0.113.9"), Body: `{"ip":"203.0.113.9"}`, Result: reputation.ResultBadAnswer},
		},
		Request: func(r *http.Request) error {
			if body, _ := io.ReadAll(r.Body); string(body) != `["203.0.113.7","203.0.113.8","203.0.113.9"]` {
				return fmt.Errorf("it asks %s", body)
			}
			return nil
		},
		Cases: []Case{{Name: "plan without batches", Status: 401, Body: `{}`, Result: reputation.ResultRefused}},
	}
	return c
}

func TestGoodBatcher(t *testing.T) { Run(t, batchConfig(func(*batcher) {})) }

// TestBatchStays: two tests may share one description.
func TestBatchStays(t *testing.T) {
	c := batchConfig(func(*batcher) {})
	if _, err := c.checks(); err != nil {
		t.Fatal(err)
	}
	if c.Batch.Before != "" || c.Batch.Cases[0].Header != nil {
		t.Errorf("the caller's description was changed: %+v", *c.Batch)
	}
}

// depthOf returns how deep objects are nested. It reads a value once for each level.
func depthOf(value json.RawMessage) int {
	var object map[string]json.RawMessage
	if json.Unmarshal(value, &object) != nil {
		return 0
	}
	deepest := 0
	for _, member := range object {
		deepest = max(deepest, depthOf(member))
	}
	return deepest + 1
}

// TestBatchFlaws proves that each mistake is found by the sub-tests that are there for it.
func TestBatchFlaws(t *testing.T) {
	type answers = []reputation.Answer
	for name, tc := range map[string]struct {
		flaw func(*batcher)
		want []string // sub-tests that must fail; others may
	}{
		"matches by position": {func(b *batcher) {
			b.match = func(body []byte, addrs []netip.Addr) (answers, error) {
				var list []entry
				if json.Unmarshal(body, &list) != nil {
					return nil, reputation.ErrBadAnswer
				}
				got := make(answers, len(addrs))
				for i := range got {
					if got[i].Err = reputation.ErrBadAnswer; i < len(list) {
						got[i] = list[i].report()
					}
				}
				return got, nil
			}
		}, []string{"another order", "swapped", "one is missing", "about somebody else", "one is a number"}},
		"takes what is missing for clean": {func(b *batcher) {
			b.match = func(body []byte, addrs []netip.Addr) (answers, error) {
				got, err := matched(body, addrs)
				for i := range got {
					if got[i].Err != nil {
						got[i] = reputation.Answer{Report: reputation.Report{Severity: -1}}
					}
				}
				return got, err
			}
		}, []string{"none", "one is missing", "the other is missing", "about somebody else", "one is a null"}},
		"takes what is missing for unknown": {func(b *batcher) {
			b.match = func(body []byte, addrs []netip.Addr) (answers, error) {
				got, err := matched(body, addrs)
				for i := range got {
					if got[i].Err != nil {
						got[i].Err = reputation.ErrUnknown
					}
				}
				return got, err
			}
		}, []string{"one is missing"}},
		"leaves out what is missing": {func(b *batcher) {
			b.match = func(body []byte, addrs []netip.Addr) (answers, error) {
				got, err := matched(body, addrs)
				return slices.DeleteFunc(got, func(a reputation.Answer) bool { return a.Err != nil }), err
			}
		}, []string{"all", "one is missing"}},
		"reads each level again": {func(b *batcher) {
			b.limit = 4 << 20
			b.match = func(body []byte, addrs []netip.Addr) (answers, error) {
				var list []struct{ Risk json.RawMessage }
				if json.Unmarshal(body, &list) == nil {
					for _, e := range list {
						depthOf(e.Risk)
					}
				}
				return matched(body, addrs)
			}
		}, []string{"deep members"}},
		"takes the last": {func(b *batcher) {
			b.match = func(body []byte, addrs []netip.Addr) (answers, error) {
				var list []entry
				if json.Unmarshal(body, &list) != nil {
					return nil, reputation.ErrBadAnswer
				}
				got := repeatedly(reputation.ErrBadAnswer, len(addrs))
				for _, e := range list {
					addr, _ := netip.ParseAddr(e.IP)
					if i := slices.Index(addrs, addr); i >= 0 {
						got[i] = e.report()
					}
				}
				return got, nil
			}
		}, []string{"twice and different", "one is a text"}},
		"one fails all": {func(b *batcher) {
			b.match = func(body []byte, addrs []netip.Addr) (answers, error) {
				got, err := matched(body, addrs)
				for _, a := range got {
					if a.Err != nil {
						return nil, a.Err
					}
				}
				return got, err
			}
		}, []string{"all", "one is missing"}},
		"answers beside an error": {func(b *batcher) {
			b.match = func(_ []byte, addrs []netip.Addr) (answers, error) {
				return make(answers, len(addrs)), reputation.ErrBadAnswer
			}
		}, []string{"an empty answer", "truncated anywhere"}},
		"shows the last address": {func(b *batcher) {
			b.send = func(ctx context.Context, b *batcher, key string, addrs []netip.Addr) ([]byte, error) {
				body, err := send(ctx, b, key, addrs)
				if err != nil {
					err = fmt.Errorf("asking about %s: %w", addrs[len(addrs)-1], err)
				}
				return body, err
			}
		}, []string{"500", "401", "echo", "hanging", "plan without batches"}},
		"quotes an entry": {func(b *batcher) {
			b.match = func(body []byte, addrs []netip.Addr) (answers, error) {
				got, err := matched(body, addrs)
				for i := range got {
					if got[i].Err != nil {
						got[i].Err = fmt.Errorf("%w: %s", got[i].Err, body)
					}
				}
				return got, err
			}
		}, []string{"echo", "one is missing"}},
		"asks one by one": {func(b *batcher) {
			b.send = func(ctx context.Context, b *batcher, key string, addrs []netip.Addr) (body []byte, err error) {
				for range addrs {
					if body, err = send(ctx, b, key, addrs); err != nil {
						return nil, err
					}
				}
				return body, nil
			}
		}, []string{"all", "swapped"}},
		"asks with another key": {func(b *batcher) {
			b.send = func(ctx context.Context, b *batcher, _ string, addrs []netip.Addr) ([]byte, error) {
				return send(ctx, b, "other", addrs)
			}
		}, []string{"all"}},
		"ignores the context": {func(b *batcher) {
			b.send = func(ctx context.Context, b *batcher, key string, addrs []netip.Addr) ([]byte, error) {
				return send(context.WithoutCancel(ctx), b, key, addrs)
			}
		}, []string{"cancelled before"}},
		"reads everything": {func(b *batcher) { b.limit = 1 << 40 }, []string{"32 MiB", "a million entries"}},
		"panics": {func(b *batcher) {
			b.match = func([]byte, []netip.Addr) (answers, error) { panic("oops") }
		}, []string{"all", "none"}},
		"has no batch": {func(b *batcher) { b.profile.Batch = 0 }, []string{"profile"}},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range tc.want {
				tc.want[i] = "batch/" + tc.want[i]
			}
			if failed := unnoticed(t, batchConfig(tc.flaw), tc.want...); len(failed) > 0 {
				t.Errorf("not found by %s", strings.Join(failed, ", "))
			}
		})
	}
}

func repeatedly(err error, n int) []reputation.Answer {
	return slices.Repeat([]reputation.Answer{{Err: err}}, n)
}

// TestBatchesMustBeDescribed proves that nobody forgets to test them, and that what is described can be told apart.
func TestBatchesMustBeDescribed(t *testing.T) {
	c := batchConfig(func(*batcher) {})
	described := *c.Batch
	c.Batch = nil
	if missed := unnoticed(t, c, "call/profile"); len(missed) > 0 {
		t.Error("a batcher without a description passes")
	}
	for name, change := range map[string]func(*Batch){
		"one entry":    func(b *Batch) { b.Entries = b.Entries[:1] },
		"same reports": func(b *Batch) { b.Entries = []Entry{b.Entries[0], b.Entries[0]} },
		"no file":      func(b *Batch) { b.Cases = []Case{{BodyFile: "testdata/absent.json"}} },
	} {
		b := described
		change(&b)
		c.Batch = &b
		if _, err := c.checks(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
