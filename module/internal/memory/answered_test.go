package memory

import (
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// with returns what a provider said, or that it was asked in vain.
func with(fetched uint32) record.Record {
	var r record.Record
	r.Set(record.Answer{Source: 1, Severity: 100, Confidence: 90, Failed: fetched == 0, Fetched: fetched, Due: 2})
	return r
}

// Answers cost calls. However many subjects nobody could answer about, and however often they come, they take none away.
func TestAnswersStay(t *testing.T) {
	table := New(2000, 1)
	const known = 3000
	for k := range record.Key(known) {
		put(table, k, with(1))
	}
	before, evicted := table.Len(), table.Evictions()
	var r record.Record
	for k := range record.Key(60_000) {
		key := 0x2001_0db8_0000_0000 + k
		put(table, key, with(0))
		for range 3 {
			table.Get(key, &r)
		}
	}
	left := 0
	for k := range record.Key(known) {
		if table.Get(k, &r) {
			left++
		}
	}
	if left != before {
		t.Errorf("%d of %d answers are left; want all of them", left, before)
	}
	if n := table.Evictions() - evicted; n == 0 {
		t.Error("subjects without an answer do not make room for others like them")
	}
}

// An answer takes the place of a subject without one, however often that one comes.
func TestAnswersTakeThePlaceOfNone(t *testing.T) {
	table := New(2000, 1)
	var r record.Record
	for range 5 {
		for k := range record.Key(3 * table.Cap()) {
			if !table.Get(k, &r) {
				put(table, k, with(0))
			}
		}
	}
	answers := record.Key(table.Cap() / 4)
	for k := range answers {
		put(table, 1<<40+k, with(1))
	}
	for k := range answers {
		if !table.Get(1<<40+k, &r) || !r.Answered() {
			t.Fatalf("answer %d of %d is gone though the rest of the table holds none", k, answers)
		}
	}
}
