package secret

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// held returns a Refresher that has a value, or none if it is empty.
func held(value string) *Refresher {
	k := Open("a", holding(value), quiet())
	if value != "" {
		k.current.Store(&snapshot{value: value})
	}
	return k
}

func keys(r *Ring) (list []string) {
	for key := range r.Each {
		list = append(list, key)
	}
	return list
}

func TestRing(t *testing.T) {
	tests := map[string]struct{ values, want []string }{
		"no secrets":          {nil, nil},
		"one":                 {[]string{"a"}, []string{"a"}},
		"the order written":   {[]string{"b", "a", "c"}, []string{"b", "a", "c"}},
		"without a value":     {[]string{"", "a", "", "b"}, []string{"a", "b"}},
		"none has a value":    {[]string{"", ""}, nil},
		"the same value":      {[]string{"a", "b", "a", "b", "a"}, []string{"a", "b"}},
		"more than the stack": {[]string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "9", "1"}, []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var refreshers []*Refresher
			for _, value := range tt.values {
				refreshers = append(refreshers, held(value))
			}
			r := NewRing(refreshers...)
			if diff := cmp.Diff(tt.want, keys(r)); diff != "" {
				t.Error(diff)
			}
			for i := range tt.want {
				var got []string
				for key, k := range r.Each {
					if at := slices.Index(refreshers, k); tt.values[at] != key || slices.Index(tt.values, key) != at {
						t.Errorf("%q comes with the Refresher at %d", key, at)
					}
					if got = append(got, key); len(got) == i+1 {
						break
					}
				}
				if diff := cmp.Diff(tt.want[:i+1], got); diff != "" {
					t.Error("after a break:", diff)
				}
			}
			clear(refreshers) // The Ring has its own list.
			if diff := cmp.Diff(tt.want, keys(r)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRingProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "b", "c", "d"}), 0, 12).Draw(t, "values")
		var refreshers []*Refresher
		var want []string
		for _, value := range values {
			refreshers = append(refreshers, held(value))
			if value != "" && !slices.Contains(want, value) {
				want = append(want, value)
			}
		}
		if diff := cmp.Diff(want, keys(NewRing(refreshers...))); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A secret that moves from one place to the next while somebody ranges over them is seen once.
func TestRingWhileValuesMove(t *testing.T) {
	a, b := held("old"), held("new")
	r := NewRing(a, b)
	var got []string
	for key := range r.Each {
		got = append(got, key)
		a.current.Store(&snapshot{value: "new"}) // The first key is rotated just now.
		b.current.Store(&snapshot{value: "old"})
	}
	if diff := cmp.Diff([]string{"old"}, got); diff != "" {
		t.Error("a key that was just refused is tried again:", diff)
	}
}

func TestUseAllocatesNothing(t *testing.T) {
	k, r, n := held("a"), NewRing(held("a"), held(""), held("b"), held("a")), 0
	for name, use := range map[string]func(){
		"Current": func() {
			if _, ok := k.Current(); ok {
				n++
			}
		},
		"Each": func() {
			for key := range r.Each {
				n += len(key)
			}
		},
	} {
		if got := testing.AllocsPerRun(100, use); got != 0 {
			t.Errorf("%s allocates %v times", name, got)
		}
	}
}

// account is a service that accepts some keys, and remembers what was tried.
type account struct {
	accepts  []string
	setAside map[string]bool // what package quota remembers
	tried    map[string]int
	refusals int
}

// call asks with the keys of a Ring, in the way that the comment of Ring shows, and reports whether one was accepted.
func (a *account) call(r *Ring) bool {
	for key, secret := range r.Each {
		if a.setAside[key] {
			continue
		}
		a.tried[key]++
		if slices.Contains(a.accepts, key) {
			return true
		}
		a.refusals++
		a.setAside[key] = true
		secret.Refresh()
	}
	return false
}

// TestRotation is the drill: two keys, a call every second, no call lost, and no refused key tried twice.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := holding("k1"), holding("k2")
		r := NewRing(start(t, first, Options{Refresh: time.Hour}), start(t, second, Options{Refresh: time.Hour}))
		service := &account{accepts: []string{"k1", "k2"}, setAside: map[string]bool{}, tried: map[string]int{}}
		synctest.Wait()
		calls := func(n int) {
			for i := range n {
				if !service.call(r) {
					t.Errorf("call %d is lost", i)
				}
				time.Sleep(time.Second)
				synctest.Wait()
			}
		}
		calls(10)
		if service.tried["k1"] != 10 || service.tried["k2"] != 0 {
			t.Errorf("tried %v, want the first key only", service.tried)
		}
		for i := range 5 { // The first key is replaced and at once revoked, again and again.
			fresh := fmt.Sprintf("k%d", 3+i)
			first.set(fresh)
			service.accepts = []string{fresh, "k2"}
			calls(15)
			if got := service.tried[fresh]; got < 14 {
				t.Errorf("%s was tried %d times, want it from the call after the refused one on", fresh, got)
			}
		}
		if service.refusals != 5 {
			t.Errorf("%d calls were refused, want one for each revoked key", service.refusals)
		}
		service.accepts = nil // The account is closed.
		before := first.calls() + second.calls()
		for range 100 {
			if service.call(r) {
				t.Error("a key was accepted")
			}
			time.Sleep(time.Second)
		}
		if n := first.calls() + second.calls() - before; n > 4 {
			t.Errorf("%d fetches for two refused keys: it is a loop", n)
		}
	})
}

// One operation is what every call to a provider costs.
func BenchmarkCurrent(b *testing.B) {
	k := held("a")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := k.Current(); !ok {
			b.Fatal("no value")
		}
	}
}

func BenchmarkCurrentParallel(b *testing.B) {
	k := held("a")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			k.Current()
		}
	})
}

func BenchmarkEach(b *testing.B) {
	r := NewRing(held("5f1d0123456789abcdef0123456789abcdef"), held("6f1d0123456789abcdef0123456789abcdef"))
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		for range r.Each {
			n++
		}
	}
}
