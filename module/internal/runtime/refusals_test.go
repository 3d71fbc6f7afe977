package runtime

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// One network drives out what shares its shard, and no more.
func TestAFloodOfOneNetworkLeavesTheOthers(t *testing.T) {
	all := new(refusals)
	const others = 64
	for i := range byte(others) {
		all.Add(Refusal{RequestID: fmt.Sprint("other-", i), Address: netip.AddrFrom4([4]byte{198, 51, i, 1}), At: time.Unix(1, 0)})
	}
	var flood sync.WaitGroup
	for i := range 8 {
		flood.Go(func() {
			for j := range 1000 {
				id := fmt.Sprint("flood-", i, "-", j)
				all.Add(Refusal{RequestID: id, Address: netip.AddrFrom4([4]byte{203, 0, 113, byte(j)}), At: time.Unix(2, 0)})
				all.Find("other-0")
			}
		})
	}
	flood.Wait()
	found := 0
	for i := range others {
		if all.Find(fmt.Sprint("other-", i)) != nil {
			found++
		}
	}
	if found < others*3/4 {
		t.Errorf("%d of %d refusals of other networks are still there", found, others)
	}
	if all.Find("flood-0-0") != nil || all.Find("flood-7-0") != nil {
		t.Error("the first of the flood are still there: the bound does not hold")
	}
}

// The latest decision about a request is found: it may have met several handlers.
func TestFindTheLatest(t *testing.T) {
	all := new(refusals)
	all.Add(Refusal{RequestID: "a", By: "limit 10/1m", At: time.Unix(1, 0)})
	all.Add(Refusal{RequestID: "a", By: "block score 85", At: time.Unix(2, 0)})
	if r := all.Find("a"); r == nil || r.By != "block score 85" {
		t.Errorf("found %+v", r)
	}
	if r := all.Find("b"); r != nil {
		t.Errorf("found %+v", r)
	}
}

func BenchmarkRefusals(b *testing.B) {
	all := new(refusals)
	r := Refusal{RequestID: "a", Address: netip.AddrFrom4([4]byte{203, 0, 113, 7}), Host: "app.example.com"}
	b.ReportAllocs()
	for b.Loop() {
		all.Add(r)
	}
}
