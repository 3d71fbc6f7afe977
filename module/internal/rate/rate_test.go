package rate

import (
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		want Rate
		err  string
	}{
		"5/s":       {want: Rate{5, time.Second}},
		"1/2s":      {want: Rate{1, 2 * time.Second}},
		"100/1m":    {want: Rate{100, time.Minute}},
		"45/m":      {want: Rate{45, time.Minute}},
		"1/h":       {want: Rate{1, time.Hour}},
		"2/500ms":   {want: Rate{2, 500 * time.Millisecond}},
		"1/ms":      {want: Rate{1, time.Millisecond}},
		"3/1m30s":   {want: Rate{3, 90 * time.Second}},
		"":          {err: `rate "": the number before the slash must be a whole one from 1 to 1000000, as in 5/s or 1/2s`},
		"5":         {err: `rate "5": after the slash must stand a duration of 24h at most, as in 5/s, 1/2s or 100/1m`},
		"5/":        {err: "duration"},
		"5/day":     {err: "duration"},
		"5/25h":     {err: "duration"},
		"5/0s":      {err: "duration"},
		"5/-1s":     {err: "duration"},
		"5/2":       {err: "duration"},
		"0/s":       {err: "whole one"},
		"-5/s":      {err: "whole one"},
		"1000001/s": {err: "whole one"},
		"1.5/s":     {err: "whole one"},
	}
	for in, tt := range tests {
		t.Run(in, func(t *testing.T) {
			got, err := Parse(in)
			switch {
			case tt.err == "" && err != nil:
				t.Errorf("unexpected error: %v", err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error %v, want %q", err, tt.err)
			case got != tt.want:
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"5/s", "1/2s", "100/1m", "1/ns", "5/day", "/", "0/s", "1/1e3s", "1/24h", "2/1h30m"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			if r != (Rate{}) {
				t.Fatalf("%q: a rate with an error", s)
			}
			return
		}
		if !r.Bounded() || r.Events > maxEvents || r.Per > maxPer || r.PerSecond() <= 0 {
			t.Fatalf("%q: out of range: %v", s, r)
		}
		if again, err := Parse(r.String()); err != nil || again != r {
			t.Fatalf("%q: %v is read back as %v, %v", s, r, again, err)
		}
	})
}
