package memory

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

var now = time.Unix(1_790_000_000, 0)

// fixed returns a table whose hash is the same in every run.
func fixed(entries, answers int) *Table {
	var seed [24]byte
	_, _ = rand.NewChaCha8([32]byte{1}).Read(seed[:])
	return newTable(seededHash(entries, seed), answers)
}

// made returns a record with the given number of answers, in which everything follows from key and version.
func made(key record.Key, version uint32, answers int) record.Record {
	x := uint32(key)*2654435761 ^ version*40503
	r := record.Record{Country: [2]byte{'D', 'E'}, ASN: x, Nature: reputation.Nature{}.With(reputation.NatureTor, x&1 == 0)}
	for i := range answers {
		r.Answers[i] = record.Answer{
			Source: record.SourceID(i + 1), Severity: int8(x % 100), Confidence: uint8(x % 101), SeenDays: uint8(x >> 8),
			Categories: reputation.Categories(x) & (1<<19 - 1), Failed: x&2 != 0, Fetched: version, Due: x + uint32(i),
		}
	}
	return r
}

func put(t *Table, key record.Key, r record.Record) {
	t.Update(key, func(stored *record.Record) { *stored = r })
}

func contents(t *Table) map[record.Key]record.Record {
	all := map[record.Key]record.Record{}
	t.Range(func(key record.Key, r *record.Record) bool {
		all[key] = *r
		return true
	})
	return all
}

func equal[T any](t interface{ Errorf(string, ...any) }, what string, got, want T) {
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b reputation.Nature) bool { return a == b })); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		answers := rapid.IntRange(1, record.MaxAnswers).Draw(t, "answers")
		table, twin := fixed(1, answers), map[record.Key]record.Record{}
		keys := rapid.OneOf(
			rapid.Uint64Range(0, 12),
			rapid.Map(rapid.Uint64Range(0, 12), func(k uint64) uint64 { return 0x2001_0db8_0000_0000 + k<<16 }),
			rapid.Just(^uint64(0)),
		)
		key := func(t *rapid.T) record.Key { return record.Key(keys.Draw(t, "key")) }
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				equal(t, "Len", table.Len(), len(twin))
				equal(t, "Evictions", table.Evictions(), 0)
			},
			"get": func(t *rapid.T) {
				k, r := key(t), made(99, 99, record.MaxAnswers)
				want, there := twin[k]
				equal(t, "Get", table.Get(k, &r), there)
				equal(t, "record", r, want)
			},
			"update": func(t *rapid.T) {
				k := key(t)
				n := rapid.IntRange(0, answers).Draw(t, "n")
				version := rapid.Uint32().Draw(t, "version")
				table.Update(k, func(r *record.Record) {
					equal(t, "record to change", *r, twin[k])
					*r = made(k, version, n)
				})
				twin[k] = made(k, version, n)
			},
			"do not add": func(t *rapid.T) {
				table.Update(key(t), func(*record.Record) {})
			},
			"delete": func(t *rapid.T) {
				k := key(t)
				_, there := twin[k]
				equal(t, "Delete", table.Delete(k), there)
				delete(twin, k)
			},
			"range": func(t *rapid.T) { equal(t, "Range", contents(table), twin) },
			"carry over": func(t *rapid.T) {
				larger := New(5000, answers)
				table.Range(func(k record.Key, r *record.Record) bool {
					put(larger, k, *r)
					return true
				})
				equal(t, "other table", contents(larger), twin)
			},
		})
	})
}

func TestRangeStops(t *testing.T) {
	table := fixed(2048, 1)
	for k := range record.Key(100) {
		put(table, k, made(k, 1, 1))
	}
	calls := 0
	table.Range(func(record.Key, *record.Record) bool {
		calls++
		return calls < 3
	})
	equal(t, "calls", calls, 3)
}

// A record with more answers than slots keeps what was just learnt and what stays good longest.
func TestMoreAnswersThanPlaces(t *testing.T) {
	answer := func(source record.SourceID, due uint32) record.Answer { return record.Answer{Source: source, Due: due} }
	table := fixed(2048, 2)
	for _, a := range []record.Answer{answer(1, 500), answer(2, 900), answer(3, 100), answer(4, 300)} {
		table.Update(7, func(r *record.Record) { r.Set(a) })
	}
	var r record.Record
	table.Get(7, &r)
	equal(t, "answers", r.Answers, [record.MaxAnswers]record.Answer{answer(4, 300), answer(2, 900)})
}

func TestSize(t *testing.T) {
	for _, c := range []struct{ entries, answers, slots, bytes int }{
		{-1, -1, 2048, 32}, {0, 0, 2048, 32}, {1, 1, 2048, 32}, {2049, 2, 3080, 48}, {200_000, 4, 300_000, 80},
		{2048, 8, 3072, 144}, {2048, 12, 3072, 208}, {2048, 16, 3072, 272}, {2048, 32, 3072, 528}, {2048, 99, 3072, 528},
	} {
		table := New(c.entries, c.answers)
		equal(t, "Cap", table.Cap(), c.slots)
		equal(t, "bytes a slot", len(table.words)*8/table.Cap(), c.bytes)
	}
}

// However many subjects come, the table keeps its size, and every one of them is either there or counted as evicted.
func TestManySubjects(t *testing.T) {
	const subjects = 200_000
	table := New(subjects/50, 1)
	for k := range record.Key(subjects) {
		table.Update(k<<16|k>>40, func(r *record.Record) { r.ASN = uint32(k) + 1 })
	}
	equal(t, "Len", table.Len(), table.Cap())
	equal(t, "Len + Evictions", uint64(table.Len())+table.Evictions(), subjects)
	equal(t, "Range", len(contents(table)), table.Len())
}

func TestAllocations(t *testing.T) {
	table, r, next := fixed(2048, 4), record.Record{}, record.Key(1)
	change := func(r *record.Record) { r.ASN++ }
	put(table, 1, made(1, 1, 4))
	for name, f := range map[string]func(){
		"get hit":          func() { table.Get(1, &r) },
		"get miss":         func() { table.Get(0, &r) },
		"update":           func() { table.Update(1, change) },
		"update and evict": func() { next++; table.Update(next, change) },
		"delete":           func() { table.Delete(next) },
	} {
		equal(t, name, testing.AllocsPerRun(20_000, f), 0)
	}
}

// A writer that is held up must not hold up a reader.
func TestReaderDoesNotWait(t *testing.T) {
	table := fixed(2048, 2)
	want := made(1, 1, 2)
	put(table, 1, want)
	n, tag := table.both(1)
	head := &table.bucket(table.locate(n, tag).bucket)[0]

	var r record.Record
	table.Update(1, func(changed *record.Record) {
		changed.ASN++
		equal(t, "Get while another changes the record", table.Get(1, &r), true)
		equal(t, "record", r, want)
	})
	head.Add(writing)
	equal(t, "Get while another is held up in storing", table.Get(1, &r), false)
	equal(t, "record", r, record.Record{})
	head.Add(writing)
	equal(t, "Get after it", table.Get(1, &r), true)
}

func TestPanicInChange(t *testing.T) {
	table := fixed(2048, 2)
	want := made(1, 1, 2)
	put(table, 1, want)
	func() {
		defer func() { _ = recover() }()
		table.Update(1, func(r *record.Record) { r.ASN = 0; panic("change failed") })
	}()
	table.Update(1, func(r *record.Record) { equal(t, "record after a panic", *r, want) })
}

// Readers, writers and evictions in two buckets: a reader must never see parts of two records, nor another subject's.
func TestConcurrent(t *testing.T) {
	const answers = 4
	table := fixed(2048, answers)
	var keys []record.Key
	for k := record.Key(1); len(keys) < 24; k++ {
		if n, _ := table.both(k); max(n[0], n[1]) < 2 {
			keys = append(keys, k)
		}
	}
	var stop atomic.Bool
	var hits atomic.Int64
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			var r record.Record
			for !stop.Load() {
				for _, k := range keys {
					if !table.Get(k, &r) {
						continue
					}
					hits.Add(1)
					if r != made(k, r.Answers[0].Fetched, answers) {
						t.Errorf("Get(%d) returned a torn record: %+v", k, r)
						return
					}
				}
			}
		})
	}
	for w := range 2 {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for range 10_000 {
				k := keys[rng.IntN(len(keys))]
				switch rng.IntN(20) {
				case 0:
					table.Delete(k)
				case 1:
					table.Range(func(k record.Key, r *record.Record) bool {
						if *r != made(k, r.Answers[0].Fetched, answers) {
							t.Errorf("Range found a torn record of %d: %+v", k, *r)
						}
						return rng.IntN(8) != 0
					})
				default:
					table.Update(k, func(r *record.Record) { *r = made(k, r.Answers[0].Fetched+1, answers) })
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	if hits.Load() == 0 || table.Evictions() == 0 {
		t.Errorf("proved nothing: %d hits, %d evictions", hits.Load(), table.Evictions())
	}
	equal(t, "Len", table.Len(), len(contents(table)))
}

// One record in two versions, as fast as they can be stored and read: a reader must never see a mixture.
func TestTorn(t *testing.T) {
	const answers = 8
	table, versions := fixed(2048, answers), [2]record.Record{made(1, 1, answers), made(1, 2, answers)}
	put(table, 1, versions[0])
	var stop atomic.Bool
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; !stop.Load(); i++ {
			put(table, 1, versions[i%2])
		}
	})
	defer writer.Wait()
	defer stop.Store(true)
	seen := [2]int{}
	var r record.Record
	// On few processors it takes long until the writer has had a turn.
	const reads, most, enough = 100_000, 50_000_000, 1000
	for n := 0; n < reads || n < most && min(seen[0], seen[1]) < enough; n++ {
		switch {
		case !table.Get(1, &r):
		case r == versions[0]:
			seen[0]++
		case r == versions[1]:
			seen[1]++
		default:
			t.Fatalf("Get returned a torn record: %+v", r)
		}
	}
	if min(seen[0], seen[1]) < enough {
		t.Errorf("proved nothing: the versions were seen %d times", seen)
	}
	t.Logf("the versions were seen %d times", seen)
}

// No update may be lost.
func TestConcurrentUpdates(t *testing.T) {
	table := fixed(2048, 1)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5000 {
				table.Update(1, func(r *record.Record) { r.ASN++ })
			}
		})
	}
	wg.Wait()
	var r record.Record
	table.Get(1, &r)
	equal(t, "updates", r.ASN, 20_000)
}

func TestHashIsReversible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := [24]byte(rapid.SliceOfN(rapid.Byte(), 24, 24).Draw(t, "seed"))
		h := seededHash(rapid.IntRange(0, 1<<30).Draw(t, "entries"), seed)
		key := record.Key(rapid.Uint64().Draw(t, "key"))
		n, tag := h.locate(key)
		if n < 0 || uint64(n) >= h.buckets || tag > tagMask {
			t.Fatalf("locate(%d) = %d, %#x with %d buckets", key, n, tag, h.buckets)
		}
		equal(t, "key", h.key(n, tag), key)
		other := h.alternate(n, tag)
		if other < 0 || uint64(other) >= h.buckets || other == n {
			t.Fatalf("other(%d, %#x) = %d with %d buckets", n, tag, other, h.buckets)
		}
		equal(t, "home", h.primary(other, tag), n)
	})
}

// Addresses in sequence, whole networks of them, or such that differ in their first bits only must not crowd together.
func TestHashSpreads(t *testing.T) {
	const buckets, keys = 1024, 5 * 1024
	crowded := func(key func(i uint64) uint64) int {
		over, load := 0, make([]int, buckets)
		h := fixed(buckets*slots, 1).hash
		for i := range uint64(keys) {
			n, _ := h.locate(record.Key(key(i)))
			if load[n]++; load[n] > slots {
				over++
			}
		}
		return over
	}
	rng := rand.New(rand.NewPCG(1, 2))
	random := crowded(func(uint64) uint64 { return rng.Uint64() })
	for _, shift := range []int{0, 1, 8, 16, 24, 31, 32, 33, 40, 48, 51} {
		if over := crowded(func(i uint64) uint64 { return 0x2001_0db8_0000_0000 + i<<shift }); over > 2*random {
			t.Errorf("keys %d bits apart: %d of %d find their bucket full, random ones %d", shift, over, keys, random)
		}
	}
}

// touch against its definition, one slot after another.
func TestTouch(t *testing.T) {
	counts := func(head uint64) (c [slots]uint64) {
		for i := range c {
			c[i] = uses(head, i)
		}
		return c
	}
	rapid.Check(t, func(t *rapid.T) {
		head := rapid.Uint64().Draw(t, "head")
		i := rapid.IntRange(0, slots-1).Draw(t, "slot")
		if uses(head, i) == maxUses {
			head = vacate(head, i) // Get touches no slot that has been used so often
		}
		want, sum := counts(head), uint64(0)
		want[i]++
		for _, c := range want {
			sum += c
		}
		if sum >= sumUses {
			for k, c := range want {
				want[k] = max(c/2, min(c, 1))
			}
		}
		equal(t, "counts", counts(touch(head, i)), want)
		equal(t, "version", version(touch(head, i)), version(head))
	})
}
