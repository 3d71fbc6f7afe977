package lookup

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// What was learnt while the clock was a year ahead is asked anew once it is right.
func TestClockWasAhead(t *testing.T) {
	for name, left := range map[string]record.Answer{
		"answer":  {Severity: 100, Confidence: 100},
		"failure": {Failed: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				year := time.Now().AddDate(1, 0, 0)
				left.Source, left.Due = record.IDOf("a"), record.Seconds(year.Add(time.Hour))
				if !left.Failed {
					left.Fetched = record.Seconds(year)
				}
				memory := new(mapMemory)
				memory.Update(record.KeyOf(client), func(r *record.Record) { r.Set(left) })
				p := after(time.Millisecond, clean, nil)
				e := newEngine(t, Config{Memory: memory, Providers: []Provider{asked("a", p)}})
				v := e.Lookup(t.Context(), client, time.Second)
				if v.Status != reputation.Fresh || v.Score > 1 || p.calls.Load() != 1 {
					t.Errorf("%+v after %d calls", v, p.calls.Load())
				}
				if x := e.Explain(client); x.Answers[0].Fetched.After(time.Now()) || x.Answers[0].Due.After(time.Now().AddDate(0, 1, 0)) {
					t.Errorf("%+v is in the memory", x.Answers[0])
				}
			})
		})
	}
}
