package limit

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// together runs f in eight goroutines that begin at the same moment.
func together(f func(worker int)) {
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for worker := range 8 {
		wg.Go(func() {
			<-begin
			f(worker)
		})
	}
	close(begin)
	wg.Wait()
}

// However many ask for one bucket at once, exactly the tokens in it are given out.
func TestConcurrentOne(t *testing.T) {
	l, r := NewLocal(1), rule("10000/1h")
	for round := range uint32(5) {
		var passed atomic.Int64
		together(func(int) {
			for range 2000 {
				if l.Take(r, client(round), l.began).Allowed {
					passed.Add(1)
				}
			}
		})
		equal(t, "passed", passed.Load(), 10_000)
	}
}

// Subjects that all come for the first time at the same moment, to sets that hold others, have one bucket each, not two.
func TestConcurrentNew(t *testing.T) {
	const rounds, most = 3000, 3
	l, r := NewLocal(1), rule("3/1h")
	now := l.began
	for round := range uint32(rounds) {
		// No more to a set than it has room for, so that none is displaced, and none with the tag of another.
		load, taken, subjects := map[*set]int{}, buckets{}, []Subject(nil)
		for i := uint32(0); len(subjects) < 24; i++ {
			s := client(round<<16 | i)
			if set, _ := setOf(l, r, s); load[set] < len(set.places) && taken.add(l, r, s) {
				load[set]++
				subjects = append(subjects, s)
			}
		}
		var passed [24]atomic.Int64
		together(func(worker int) {
			for i := range subjects {
				i := (i*(2*worker+1) + worker) % len(subjects)
				for range most {
					if l.Take(r, subjects[i], now).Allowed {
						passed[i].Add(1)
					}
				}
			}
		})
		for i := range passed {
			equal(t, "passed", passed[i].Load(), most)
		}
		if t.Failed() {
			t.Fatalf("in round %d of %d", round, rounds)
		}
		now = now.Add(2 * time.Hour) // all full: their places are taken by the next ones
	}
	equal(t, "Evictions", l.evictions.Load(), 0)
}

// With more subjects than places, no subject gets more than its tokens for each time that its bucket may have been
// evicted, and the table stays in order: no tag twice in a set, no change left unfinished.
func TestConcurrentDisplacement(t *testing.T) {
	const tokens, subjects = 5, 2000
	l, r := NewLocal(1), rule("5/1h")
	var passed atomic.Int64
	together(func(worker int) {
		for i := range uint32(20_000) {
			s := client((i*31 + uint32(worker)) % subjects)
			if l.Take(r, s, l.began.Add(time.Duration(i))).Allowed {
				passed.Add(1)
			}
			if i%7 == 0 {
				l.Apply(r, s, l.began.Add(time.Duration(i)), true, 30*time.Minute)
			}
		}
	})
	if most := int64(tokens * (subjects + l.evictions.Load())); passed.Load() > most || l.evictions.Load() == 0 {
		t.Errorf("%d passed, want %d at most, with %d evicted buckets", passed.Load(), most, l.evictions.Load())
	}
	for i := range l.sets {
		set, seen := &l.sets[i], map[uint64]bool{}
		for j := range set.places {
			word := set.places[j].Load()
			if word != 0 && seen[tagOf(word)] {
				t.Errorf("set %d: tag %#x twice", i, tagOf(word))
			}
			seen[tagOf(word)] = true
		}
		if set.head.Load()&running != 0 {
			t.Errorf("set %d: a change was not finished", i)
		}
	}
}

// A goroutine that is held up after announcing a change holds up nobody: the next one carries it out.
func TestUnfinishedChange(t *testing.T) {
	l, r := NewLocal(1), rule("3/1h")
	subjects := sameSet(l, buckets{}, r, 3)
	now := time.Hour
	l.Take(r, subjects[0], l.began.Add(now))

	set, tag := setOf(l, r, subjects[1])
	place, _ := set.victim(now)
	announced := announce(set.head.Load(), place, tag)
	set.head.Store(announced)

	equal(t, "one that is there", l.Take(r, subjects[0], l.began.Add(now)).Remaining, 1)
	equal(t, "another new one", l.Take(r, subjects[2], l.began.Add(now)).Remaining, 2)
	if tagOf(set.places[place].Load()) != tag || set.head.Load()&running != 0 {
		t.Fatal("the change has not been carried out")
	}
	equal(t, "the one itself", l.Take(r, subjects[1], l.began.Add(now)).Remaining, 2)

	// it goes on, with what it knew, after its place has been given to another
	for i := range set.places {
		set.places[i].Store(wordOf(tag+uint64(i)+1, (now+time.Hour)/tick))
	}
	before := set.places[place].Load()
	set.finish(announced, now)
	equal(t, "its former place", set.places[place].Load(), before)
}

// What has been announced is never announced again, though the same place be given to the same tag: whoever knew the head
// before must not take it for unchanged.
func TestAnnounce(t *testing.T) {
	head := uint64(0)
	for i := range uint64(10) {
		next := announce(head, 5, 0xABCDE)
		equal(t, "changes", next/oneChange, i+1)
		equal(t, "under way, place and tag", next%oneChange, running|5<<placeShift|0xABCDE)
		head = next &^ running
	}
}
