package record

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestDropFuture(t *testing.T) {
	const now = 1_796_000_000
	const hour, day, year = 3600, 24 * 3600, 365 * 24 * 3600
	for name, tc := range map[string]struct{ given, want Answer }{
		"current":              {Answer{Fetched: now - hour, Due: now + hour}, Answer{Fetched: now - hour, Due: now + hour}},
		"past its time":        {Answer{Fetched: now - year, Due: now - hour}, Answer{Fetched: now - year, Due: now - hour}},
		"a little ahead":       {Answer{Fetched: now + 60, Due: now + hour}, Answer{Fetched: now + 60, Due: now + hour}},
		"a year ahead":         {Answer{Fetched: now + year, Due: now + year + hour}, Answer{}},
		"due in a year":        {Answer{Fetched: now - hour, Due: now + year}, Answer{}},
		"longest":              {Answer{Fetched: now, Due: now + 30*day}, Answer{Fetched: now, Due: now + 30*day}},
		"failed":               {Answer{Failed: true, Due: now + 300}, Answer{Failed: true, Due: now + 300}},
		"failed a year ahead":  {Answer{Failed: true, Due: now + year}, Answer{}},
		"failed since":         {Answer{Failed: true, Fetched: now - year, Due: now + year}, Answer{Failed: true, Fetched: now - year}},
		"failed, both in 2027": {Answer{Failed: true, Fetched: now + year, Due: now + year}, Answer{}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.given.Source = 7
			if tc.want != (Answer{}) {
				tc.want.Source = 7
			}
			other := Answer{Source: 8, Fetched: now - 1, Due: now + 1}
			var r, want Record
			r.Set(tc.given)
			r.Set(other)
			if tc.want.Source != 0 {
				want.Set(tc.want)
			}
			want.Set(other)
			if r.DropFuture(now); r != want {
				t.Errorf("%+v, want %+v", r.Answers[:2], want.Answers[:2])
			}
		})
	}
}

// Whatever answers a wrong clock has left, a right one replaces them, and none holds longer than the
// longest time to live.
func TestDropFutureConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1_796_000_000, 0)
		var r Record
		for range rapid.IntRange(0, 5).Draw(t, "answers") {
			wrong := now.Add(time.Duration(rapid.Int64Range(-1e9, 1e9).Draw(t, "clock")) * time.Second)
			ttl := time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "ttl")) * time.Second
			a := Pack(SourceID(rapid.IntRange(1, 3).Draw(t, "source")), reputation.Report{Severity: 1}, wrong, wrong.Add(ttl))
			a.Failed = rapid.Bool().Draw(t, "failed")
			r.Learn(a, reputation.Facts{Country: "DE"})
		}
		r.DropFuture(Seconds(now))
		for _, a := range r.Answers {
			if a.Fetched > Seconds(now.Add(Ahead)) || a.Due > Seconds(now.Add(Ahead+MaxTTL)) {
				t.Errorf("%+v", a)
			}
		}
		var right Record
		later := now.Add(Ahead + time.Second)
		right.Learn(Pack(1, reputation.Report{Severity: -1}, later, later.Add(time.Hour)), reputation.Facts{Country: "NL"})
		r.Merge(&right)
		if a := r.Find(1); a == nil || a.Severity != -100 {
			t.Errorf("the right answer did not replace %+v", a)
		}
	})
}
