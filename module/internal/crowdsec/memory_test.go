package crowdsec

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"runtime"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
)

// many answers with n decisions about addresses that are no neighbours, of many scenarios.
func many(n int) func(*http.Request) (int, io.Reader, error) {
	return func(*http.Request) (int, io.Reader, error) {
		read, write := io.Pipe()
		go func() {
			_, err := io.WriteString(write, `{"new":[`)
			for i := 0; i < n && err == nil; i++ {
				comma := ","
				if i == 0 {
					comma = ""
				}
				_, err = io.WriteString(write, comma+decisionText(i))
			}
			if err == nil {
				_, err = io.WriteString(write, `],"deleted":[]}`)
			}
			write.CloseWithError(err)
		}()
		return 200, read, nil
	}
}

func addrOf(i int) netip.Addr {
	n := 0x0b00_0000 + uint32(i)*197
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func decisionText(i int) string {
	return fmt.Sprintf(`{"duration":"71h59m%ds","id":%d,"origin":"CAPI","scenario":"crowdsecurity/http-%d","scope":"Ip","type":"ban","value":"%s"}`,
		i%60, i+1, i%100, addrOf(i))
}

func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// What a decision takes, with its place in the index, is bounded, whatever was written of it.
func TestMemory(t *testing.T) {
	const n = 100_000
	b := newBench(t, nil)
	b.api.then(many(n))
	b.set.Start()
	before := heap()
	b.pulled(new(state))
	if each := (heap() - before) / n; each > 60 {
		t.Errorf("a decision takes %.0f bytes", each)
	}
	b.check(addrOf(n-1).String(), "CAPI ban web_attack")
}

// BenchmarkMillion is what a million decisions take: to read and push, to hold, and to look one up.
func BenchmarkMillion(b *testing.B) {
	const n = 1_000_000
	x := newBench(b, func(_ *Config, spec *feed.Spec) { spec.MaxEntries = 2 * n })
	x.api.then(many(n))
	x.set.Start()
	before := heap()
	x.pulled(new(state))
	live := (heap() - before) / n
	b.Run("pull", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := x.pull(b.Context(), new(state)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("lookup", func(b *testing.B) {
		b.ReportAllocs()
		index, i := x.set.Current().Index, 0
		for b.Loop() {
			if index.Lookup(addrOf(i%n)) == 0 {
				b.Fatal(i)
			}
			i += 7919
		}
		b.ReportMetric(live, "B/decision")
	})
}
