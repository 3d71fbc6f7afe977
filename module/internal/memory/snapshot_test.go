package memory

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/blockfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// recent returns a record with answers fetched shortly before now.
func recent(key record.Key, answers int) record.Record {
	return made(key, record.Seconds(now)-uint32(key%1000), answers)
}

func filled(entries, subjects, answers int) *Table {
	t := fixed(entries, answers)
	for k := range record.Key(subjects) {
		put(t, k, recent(k, 1+int(k)%answers))
	}
	return t
}

func saved(t testing.TB, table *Table) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := table.Save(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSnapshot(t *testing.T) {
	for _, c := range []struct {
		name              string
		subjects, answers int
	}{
		{"empty", 0, 1}, {"one", 1, 1}, {"several blocks", 2000, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := filled(40_000, c.subjects, c.answers)
			into := fixed(50_000, c.answers)
			n, err := into.Load(iotest.OneByteReader(bytes.NewReader(saved(t, table))), now)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "loaded", n, table.Len())
			equal(t, "contents", contents(into), contents(table))
		})
	}
}

// A warm start is worth little if the first scan after it forgets everyone.
func TestSnapshotKeepsUses(t *testing.T) {
	table := filled(2048, 10, 2)
	var r record.Record
	for range 5 {
		table.Get(3, &r)
	}
	into := New(2048, 2)
	if _, err := into.Load(bytes.NewReader(saved(t, table)), now); err != nil {
		t.Fatal(err)
	}
	got := map[record.Key]uint64{}
	into.each(func(key record.Key, used uint64, _ *record.Record) bool {
		got[key] = used
		return true
	})
	equal(t, "uses", got[3], newUses+5)
	equal(t, "uses", got[4], newUses)
}

func TestLoadLeavesOut(t *testing.T) {
	second, limit := uint32(1), record.Seconds(now.Add(-maxAge))
	at := func(fetched ...uint32) (r record.Record) {
		for i, f := range fetched {
			r.Answers[i] = record.Answer{Source: record.SourceID(i + 1), Fetched: f, Due: 1}
		}
		return r
	}
	table := fixed(2048, 3)
	put(table, 1, at(limit, limit-second, record.Seconds(now)))
	put(table, 2, at(record.Seconds(now)+second, 0))
	put(table, 3, at(limit))
	put(table, 4, record.Record{ASN: 64500})

	into := fixed(2048, 3)
	put(into, 3, at(limit+second))
	n, err := into.Load(bytes.NewReader(saved(t, table)), now)
	if err != nil {
		t.Fatal(err)
	}
	first := at(limit, record.Seconds(now))
	first.Answers[1].Source = 3
	equal(t, "loaded", n, 1)
	equal(t, "contents", contents(into), map[record.Key]record.Record{1: first, 3: at(limit + second)})
}

// Into fewer slots than there are answers or subjects, what fits is loaded.
func TestLoadIntoSmaller(t *testing.T) {
	table, into := filled(20_000, 5000, 8), New(1, 2)
	n, err := into.Load(bytes.NewReader(saved(t, table)), now)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "loaded", n, 5000)
	equal(t, "Len + Evictions", into.Len()+int(into.Evictions()), 5000)
	for k, r := range contents(into) {
		equal(t, "ASN", r.ASN, recent(k, 8).ASN)
	}
}

// Whatever is cut off, the rest is loaded and the loss is noticed.
func TestLoadTruncated(t *testing.T) {
	table := filled(16_000, 2000, 8)
	whole, all := saved(t, table), contents(table)
	loaded := 0
	for size := 0; size < len(whole); size += 1 + size/20 {
		into := fixed(16_000, 8)
		n, err := into.Load(bytes.NewReader(whole[:size]), now)
		if !errors.Is(err, errDamaged) {
			t.Fatalf("Load of %d of %d bytes: error %v, want %v", size, len(whole), err, errDamaged)
		}
		equal(t, "loaded", n, into.Len())
		for k, r := range contents(into) {
			if r != all[k] { // cmp.Diff takes too long for so many
				t.Fatalf("subject %d: %+v, want %+v", k, r, all[k])
			}
		}
		loaded = max(loaded, n)
	}
	if loaded < 1000 {
		t.Errorf("at most %d records were loaded from before the damage", loaded)
	}
}

// No flipped bit goes unnoticed, and none brings a record that was not saved.
func TestLoadFlipped(t *testing.T) {
	table := filled(2048, 5, 2)
	whole, all := saved(t, table), contents(table)
	for bit := range 8 * len(whole) {
		whole[bit/8] ^= 1 << (bit % 8)
		into := fixed(2048, 2)
		if _, err := into.Load(bytes.NewReader(whole), now); err == nil {
			t.Errorf("Load with bit %d flipped: no error", bit)
		}
		for k, r := range contents(into) {
			if r != all[k] { // cmp.Diff takes too long for so many
				t.Fatalf("subject %d: %+v, want %+v", k, r, all[k])
			}
		}
		whole[bit/8] ^= 1 << (bit % 8)
	}
}

// Blocks that are whole but not in their place are damage too.
func TestLoadReordered(t *testing.T) {
	whole := saved(t, filled(20_000, 1000, 8))
	end := whole[len(whole)-blockfile.Overhead:]
	for name, b := range map[string][]byte{
		"first block missing": append([]byte(magic), end...),
		"last block twice":    append([]byte(magic), append(bytes.Clone(whole[len(magic):len(whole)-len(end)]), whole[len(magic):]...)...),
	} {
		if _, err := New(1, 1).Load(bytes.NewReader(b), now); !errors.Is(err, errDamaged) {
			t.Errorf("%s: error %v, want %v", name, err, errDamaged)
		}
	}
}

func TestLoadOfSomethingElse(t *testing.T) {
	_, err := New(1, 1).Load(strings.NewReader("<html>not a snapshot</html>"), now)
	if err == nil || !strings.Contains(err.Error(), "remove the file") {
		t.Errorf("error %v, want one that says what to do", err)
	}
}

func TestErrorsOfTheDisk(t *testing.T) {
	broken := errors.New("disk is broken")
	if _, err := New(1, 1).Load(iotest.ErrReader(broken), now); !errors.Is(err, broken) {
		t.Errorf("Load: error %v, want %v", err, broken)
	}
	table := filled(20_000, 5000, 8)
	for _, after := range []int{0, 1, 70_000} {
		if err := table.Save(&fullDisk{room: after, err: broken}); !errors.Is(err, broken) {
			t.Errorf("Save on a disk with room for %d bytes: error %v, want %v", after, err, broken)
		}
	}
}

type fullDisk struct {
	room int
	err  error
}

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.room -= len(p); d.room < 0 {
		return 0, d.err
	}
	return len(p), nil
}

// The table is in use while it is saved.
func TestSaveWhileInUse(t *testing.T) {
	table := filled(20_000, 500, 4)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for k := range record.Key(20_000) {
			put(table, k%500, recent(k%500, 4))
		}
	}()
	into := fixed(20_000, 4)
	n, err := into.Load(bytes.NewReader(saved(t, table)), now)
	if err != nil {
		t.Error(err)
	}
	equal(t, "loaded", n, 500)
	<-done
}

// Any bytes either fail or load records within bounds, which survive being saved again.
func FuzzLoad(f *testing.F) {
	f.Add([]byte{}, true)
	f.Add([]byte(magic), true)
	for _, subjects := range []int{0, 1, 3} {
		b := saved(f, filled(2048, subjects, 3))
		f.Add(b, false)
		f.Add(b[len(magic)+blockfile.Overhead:], true)
	}
	if b, err := os.ReadFile("testdata/first.bin"); err == nil {
		f.Add(b, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, wrap bool) {
		if wrap && len(b) < blockfile.MaxEntry {
			b = sealed(b) // gets past the checksum, which random bytes do not
		}
		table := fixed(1, 3)
		n, err := table.Load(bytes.NewReader(b), now)
		if err != nil && n == 0 && table.Len() != 0 || n < table.Len() {
			t.Fatalf("Load = %d, %v with %d subjects in the table", n, err, table.Len())
		}
		oldest, newest := record.Seconds(now.Add(-maxAge)), record.Seconds(now)
		table.Range(func(key record.Key, r *record.Record) bool {
			for _, a := range r.Answers {
				if a.Source != 0 && (a.Fetched < oldest || a.Fetched > newest) {
					t.Errorf("subject %d has an answer fetched at %d", key, a.Fetched)
				}
			}
			return true
		})
		again := fixed(1, 3)
		if m, err := again.Load(bytes.NewReader(saved(t, table)), now); err != nil || m != table.Len() {
			t.Errorf("Load of what was loaded and saved = %d, %v, want %d", m, err, table.Len())
		}
		equal(t, "contents", contents(again), contents(table))
	})
}

// sealed returns a snapshot with the given bytes as its only records.
func sealed(records []byte) []byte {
	var b bytes.Buffer
	_, _ = io.WriteString(&b, magic)
	blocks := blockfile.NewWriter(&b)
	_ = blocks.Write(records)
	_ = blocks.Close()
	return b.Bytes()
}

// What the first version of this file's format wrote, at commit e3ed020, is read whole: 60 subjects with up to 8 answers.
func TestLoadFirstVersion(t *testing.T) {
	written, err := os.ReadFile("testdata/first.bin")
	if err != nil {
		t.Fatal(err)
	}
	into := fixed(2048, 8)
	n, err := into.Load(bytes.NewReader(written), now)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "loaded", n, 60)
	equal(t, "contents", contents(into), contents(filled(2048, 60, 8)))
	into.each(func(key record.Key, used uint64, _ *record.Record) bool {
		want := uint64(newUses)
		if key == 3 {
			want += 5
		}
		equal(t, "uses", used, want)
		return true
	})
	if _, err := New(1, 1).Load(bytes.NewReader(written[:len(written)-20]), now); !errors.Is(err, errDamaged) {
		t.Errorf("cut off: error %v, want %v", err, errDamaged)
	}
}

// The count of answers is a whole byte: as many as there are providers come back, and those who gave the facts with them.
func TestSnapshotOfManyAnswers(t *testing.T) {
	table, into := fixed(2048, record.MaxAnswers), fixed(2048, record.MaxAnswers)
	want := recent(1, record.MaxAnswers)
	want.From = record.Origins{Country: 3, ASN: record.MaxAnswers, Nature: 1}
	put(table, 1, want)
	if _, err := into.Load(bytes.NewReader(saved(t, table)), now); err != nil {
		t.Fatal(err)
	}
	equal(t, "contents", contents(into), map[record.Key]record.Record{1: want})
}

// A table that has fewer places for answers than the snapshot brings back those of the sources that are still asked, however
// long the answers of the others hold.
func TestLoadKeepsTheSourcesThatAreLeft(t *testing.T) {
	table, into := fixed(2048, 3), fixed(2048, 1)
	at := record.Seconds(now)
	left := record.Answer{Source: 2, Fetched: at, Due: at + 60}
	put(table, 1, record.Record{Answers: answersOf(
		record.Answer{Source: 1, Fetched: at, Due: at + 6000}, left, record.Answer{Source: 3, Fetched: at, Due: at + 9000})})
	put(table, 2, record.Record{Answers: answersOf(record.Answer{Source: 3, Fetched: at, Due: at + 9000})})
	if n, err := into.Load(bytes.NewReader(saved(t, table)), now, 2); n != 1 || err != nil {
		t.Errorf("%d records, %v", n, err)
	}
	equal(t, "contents", contents(into), map[record.Key]record.Record{1: {Answers: answersOf(left)}})
}

func answersOf(list ...record.Answer) (all [record.MaxAnswers]record.Answer) {
	copy(all[:], list)
	return all
}
