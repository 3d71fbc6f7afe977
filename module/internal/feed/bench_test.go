package feed

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/iplist"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
)

const million = 1_000_000

func BenchmarkReadCopy(b *testing.B) {
	ranges := millionRanges(b)
	h := copyHeader{name: "one", spec: "f00", fetched: time.Unix(0, 0)}
	h.sum, h.entries = digest(&body{ranges: ranges})
	var file bytes.Buffer
	file.Write(h.appendText(nil))
	if _, err := (&body{ranges: ranges}).write(&file); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(file.Len()))
	b.ReportMetric(float64(h.entries), "entries")
	for b.Loop() {
		if _, _, err := readCopy(bytes.NewReader(file.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSaveCopy(b *testing.B) {
	ranges := millionRanges(b)
	path := filepath.Join(b.TempDir(), "one.list")
	for b.Loop() {
		h := copyHeader{name: "one", spec: "f00", fetched: time.Unix(0, 0)}
		h.sum, h.entries = digest(&body{ranges: ranges})
		if err := saveCopy(path, &h, &body{ranges: ranges}, time.Unix(0, 0)); err != nil {
			b.Fatal(err)
		}
	}
}

func millionRanges(b *testing.B) iplist.Ranges {
	spec := Spec{Format: listformat.Format{Encoding: listformat.Text}, MaxEntries: DefaultMaxEntries}
	list := spec.newContent()
	if err := spec.read(strings.NewReader(millionLines(million)), false, list); err != nil {
		b.Fatal(err)
	}
	return list.ranges.Ranges()
}

// BenchmarkRebuild is what a change of one of twenty lists costs, a million lines in all.
func BenchmarkRebuild(b *testing.B) {
	s := twentyLists(b)
	for b.Loop() {
		s.rebuild()
	}
}

// BenchmarkOpen is a start with twenty local files, a million lines in all.
func BenchmarkOpen(b *testing.B) {
	specs, dir := twentySpecs(b), b.TempDir()
	for b.Loop() {
		s, err := Open(specs, Options{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		_ = s.Close()
	}
}

func twentyLists(b *testing.B) *Set { return mustOpen(b, Options{Dir: b.TempDir()}, twentySpecs(b)...) }

func twentySpecs(b *testing.B) []Spec {
	dir := b.TempDir()
	lines := strings.SplitAfter(millionLines(million), "\n")
	specs := make([]Spec, 20)
	for i := range specs {
		part := lines[i*len(lines)/20 : (i+1)*len(lines)/20]
		specs[i] = Spec{Name: fmt.Sprintf("list%d", i), File: filepath.Join(dir, fmt.Sprintf("list%d.txt", i))}
		write(b, specs[i].File, strings.Join(part, ""))
	}
	return specs
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
