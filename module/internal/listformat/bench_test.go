package listformat

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

func BenchmarkText(b *testing.B) { benchmark(b, Format{Encoding: Text}) }

// BenchmarkFound must cost what BenchmarkText does: only the first lines are looked at.
func BenchmarkFound(b *testing.B) { benchmark(b, Format{}) }

func benchmark(b *testing.B, f Format) {
	const million = 1_000_000
	body := millionLines(million)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		list := List{Add: func(netip.Prefix) error { return nil }}
		if err := list.Read(strings.NewReader(body), f, Options{}); err != nil || list.Lines != million {
			b.Fatal(list.Lines, err)
		}
	}
}

// millionLines is a list as it comes: shuffled addresses and ranges of the whole of IPv4 that is not reserved.
func millionLines(n int) string {
	random := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for range n {
		v := random.Uint32N(100<<24) + 110<<24 // 110.0.0.0 to 209.255.255.255
		fmt.Fprintf(&b, "%d.%d.%d.%d", v>>24, v>>16&255, v>>8&255, v&255)
		if v%8 == 0 {
			b.WriteString("/24")
		}
		b.WriteByte('\n')
	}
	return b.String()
}
