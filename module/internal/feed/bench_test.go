package feed

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/iplist"
)

const million = 1_000_000

func BenchmarkParseText(b *testing.B) {
	body := millionLines(million)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		c := newContent(&Spec{}, million)
		if err := readGuarded(strings.NewReader(body), c); err != nil || len(c.prefixes) != million {
			b.Fatal(len(c.prefixes), err)
		}
	}
}

func BenchmarkReadCopy(b *testing.B) {
	ranges := millionRanges(b)
	h := copyHeader{name: "one", spec: "f00", fetched: time.Unix(0, 0)}
	h.sum, h.entries = digest(ranges)
	var file bytes.Buffer
	file.Write(h.appendText(nil))
	if _, err := writeBody(&file, ranges); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(file.Len()))
	b.ReportMetric(float64(h.entries), "entries")
	for b.Loop() {
		if _, _, err := readCopy(bytes.NewReader(file.Bytes()), int64(file.Len())); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSaveCopy(b *testing.B) {
	ranges := millionRanges(b)
	path := filepath.Join(b.TempDir(), "one.list")
	for b.Loop() {
		h := copyHeader{name: "one", spec: "f00", fetched: time.Unix(0, 0)}
		h.sum, h.entries = digest(ranges)
		if err := saveCopy(path, &h, ranges, time.Unix(0, 0)); err != nil {
			b.Fatal(err)
		}
	}
}

func millionRanges(b *testing.B) iplist.Ranges {
	c := newContent(&Spec{}, 0)
	if err := readGuarded(strings.NewReader(millionLines(million)), c); err != nil {
		b.Fatal(err)
	}
	return iplist.NewRanges(c.prefixes)
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
