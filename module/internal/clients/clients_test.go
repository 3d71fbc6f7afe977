package clients

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// traffic is a kind of requests: how many of 64, and what each is.
type traffic struct {
	of64    int
	request func(i int) Request
}

func from(addr string, exempt bool) func(int) Request {
	return func(int) Request { return Request{Addr: netip.MustParseAddr(addr), Exempt: exempt, Agent: "one"} }
}

// visitors are as many addresses and browsers as requests.
func visitors(i int) Request {
	return Request{Addr: netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), Agent: fmt.Sprint("browser ", i)}
}

// browsers are visitors of whom a proxy shows its own address.
func browsers(addr string, exempt bool) func(int) Request {
	return func(i int) Request {
		return Request{Addr: netip.MustParseAddr(addr), Exempt: exempt, Agent: fmt.Sprint("browser ", i%7)}
	}
}

// run adds the requests of one sample, evenly over a time, and returns what the watch then finds.
func run(w *Watch, began time.Time, over time.Duration, mixed ...traffic) Finding {
	n, now := 0, began
	for _, part := range mixed {
		for i := range part.of64 {
			now = began.Add(over * time.Duration(n) / (Size - 1))
			w.Add(part.request(i), now)
			n++
		}
	}
	return w.Finding(now)
}

func words(f Finding) (s string) {
	for _, kind := range []struct {
		is   bool
		word string
	}{{f.Proxy, "proxy"}, {f.Exempt, "exempt"}, {f.OneAddress, "one"}, {f.Missing, "missing"}} {
		if kind.is {
			s += kind.word + " "
		}
	}
	return s
}

func TestFinding(t *testing.T) {
	const docker = "172.17.0.1"
	forwarded := func(int) Request { return Request{Addr: netip.MustParseAddr(docker), Forwarded: true} }
	missing := func(i int) Request { return Request{Agent: fmt.Sprint(i)} }
	offices := func(i int) Request {
		return Request{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Exempt: true, Agent: fmt.Sprint(i)}
	}
	sameNetwork := func(i int) Request {
		return Request{Addr: netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i)), Agent: fmt.Sprint(i)}
	}
	for name, tc := range map[string]struct {
		over time.Duration
		mix  []traffic
		want string
	}{
		"visitors":                           {time.Second, []traffic{{64, visitors}}, ""},
		"a userland proxy":                   {time.Second, []traffic{{64, from(docker, true)}}, "exempt one "},
		"a userland proxy of a quiet site":   {10 * time.Hour, []traffic{{64, browsers(docker, true)}}, "exempt one "},
		"at the bound":                       {time.Second, []traffic{{60, from(docker, true)}, {4, visitors}}, "exempt one "},
		"below the bound":                    {time.Second, []traffic{{59, from(docker, true)}, {5, visitors}}, ""},
		"probes of a quiet site":             {time.Hour, []traffic{{64, from("10.0.0.1", true)}}, ""},
		"probes of two kinds":                {time.Hour, []traffic{{40, from("10.0.0.1", true)}, {24, from("10.0.0.2", true)}}, ""},
		"probes beside few visitors":         {time.Hour, []traffic{{62, from("10.0.0.1", true)}, {2, visitors}}, ""},
		"one client of a quiet site":         {time.Hour, []traffic{{64, from("203.0.113.7", false)}}, ""},
		"one client":                         {time.Second, []traffic{{64, from("203.0.113.7", false)}}, "one "},
		"one address of many browsers":       {time.Hour, []traffic{{64, browsers("203.0.113.7", false)}}, "one "},
		"one /64":                            {time.Second, []traffic{{64, sameNetwork}}, "one "},
		"an office of many, all exempt":      {time.Hour, []traffic{{64, offices}}, "exempt "},
		"no addresses":                       {time.Second, []traffic{{64, missing}}, "missing "},
		"a proxy that names clients":         {time.Hour, []traffic{{64, forwarded}}, "proxy one "},
		"a client that names another":        {time.Second, []traffic{{59, visitors}, {5, forwarded}}, ""},
		"half of the addresses are missing":  {time.Second, []traffic{{32, missing}, {32, visitors}}, ""},
		"a sample that is not complete":      {time.Second, []traffic{{63, from(docker, true)}}, ""},
		"a sample that takes more than days": {60 * time.Hour, []traffic{{64, browsers(docker, true)}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := run(new(Watch), noon, tc.over, tc.mix...); words(got) != tc.want {
				t.Errorf("found %q, want %q", words(got), tc.want)
			}
		})
	}
}

func TestFindingNamesTheClient(t *testing.T) {
	f := run(new(Watch), noon, time.Second, traffic{2, visitors}, traffic{62, from("172.17.0.1", true)})
	if f.Name() != "172.17.0.1" || f.Count != 62 {
		t.Errorf("it is %s in %d requests", f.Name(), f.Count)
	}
	f = run(new(Watch), noon, time.Second, traffic{64, from("2001:db8::5", false)})
	if f.Name() != "2001:db8::/64" || f.Count != 64 {
		t.Errorf("it is %s in %d requests", f.Name(), f.Count)
	}
}

// TestFindingEnds holds when a finding is over, and that it does not begin and end all the time.
func TestFindingEnds(t *testing.T) {
	exempt := func(n int) []traffic { return []traffic{{n, from("172.17.0.1", true)}, {64 - n, visitors}} }
	for name, tc := range map[string]struct {
		first []traffic
		after time.Duration
		next  []traffic // nil: nothing comes
		want  string
	}{
		"visitors come":                    {exempt(64), time.Minute, exempt(0), ""},
		"still more than four of five":     {exempt(64), time.Minute, exempt(52), "exempt one "},
		"less":                             {exempt(64), time.Minute, exempt(51), ""},
		"nothing more comes":               {exempt(64), holdsBusy, nil, ""},
		"nothing more comes yet":           {exempt(64), holdsBusy - 2*time.Second, nil, "exempt one "},
		"of many browsers, for the night":  {[]traffic{{64, browsers("172.17.0.1", true)}}, 10 * time.Hour, nil, "exempt one "},
		"of many browsers, for two nights": {[]traffic{{64, browsers("172.17.0.1", true)}}, 2 * holdsVaried, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var w Watch
			if f := run(&w, noon, time.Second, tc.first...); !f.Any() {
				t.Fatal("nothing is found at first")
			}
			f := w.Finding(noon.Add(time.Second + tc.after))
			if tc.next != nil {
				f = run(&w, noon.Add(tc.after), time.Second, tc.next...)
			}
			if words(f) != tc.want {
				t.Errorf("found %q, want %q", words(f), tc.want)
			}
		})
	}
	t.Run("probes at night neither confirm nor end it", func(t *testing.T) {
		var w Watch
		run(&w, noon, time.Second, traffic{64, browsers("172.17.0.1", true)})
		if f := run(&w, noon.Add(time.Hour), time.Hour, traffic{64, from("10.0.0.1", true)}); words(f) != "exempt one " {
			t.Errorf("found %q", words(f))
		}
	})
}

// TestVisitorsAreNeverFound holds that no finding begins where fewer than begins of a sample have anything in common.
func TestVisitorsAreNeverFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, begins-1).Draw(t, "suspicious requests")
		over := time.Duration(rapid.Int64Range(0, int64(patience)).Draw(t, "time"))
		odd := rapid.SampledFrom([]Request{
			{}, {Addr: netip.MustParseAddr("10.0.0.1"), Exempt: true}, {Addr: netip.MustParseAddr("203.0.113.1"), Forwarded: true},
		}).Draw(t, "request")
		odds := traffic{n, func(int) Request { return odd }}
		if f := run(new(Watch), noon, over, odds, traffic{Size - n, visitors}); f.Any() {
			t.Fatalf("found %q", words(f))
		}
	})
}

// TestAddNeverWaits holds that a request is not sampled rather than made to wait.
func TestAddNeverWaits(t *testing.T) {
	var w Watch
	w.mu.Lock()
	for i := range 2 * Size {
		if _, _, complete := w.Add(visitors(i), noon); complete {
			t.Fatal("a sample was completed under the lock")
		}
	}
	w.Finding(noon)
	w.mu.Unlock()

	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 10 * Size {
				w.Add(from("172.17.0.1", true)(i), noon)
				w.Finding(noon)
			}
		})
	}
	all.Wait()
}

func TestAddDoesNotAllocate(t *testing.T) {
	var w Watch
	r := visitors(1)
	if n := testing.AllocsPerRun(Size-2, func() { w.Add(r, noon) }); n != 0 {
		t.Errorf("it allocates %v times", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	var w Watch
	r := browsers("172.17.0.1", true)(1)
	b.ReportAllocs()
	for b.Loop() {
		w.Add(r, noon)
	}
}
