package providertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// manyEntries sends an answer whose entries are so short that millions of them are in an answer of the usual size, and
// measures that not all of them become values in memory.
func (s *suite) manyEntries(tb testing.TB) error {
	const size, bound = 4<<20 - 1024, 64 << 20
	entry := memberName(s.Batch.Entries[0].Body)
	if entry != "" {
		entry = `"":`
	}
	entry += "{}"
	body := s.Batch.Before + strings.Repeat(entry+",", size/(len(entry)+1)) + entry + s.Batch.After
	t := s.fixture(tb, reply(http.StatusOK, s.sample.Header.Get("Content-Type"), body))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	o, err := t.askAll(tb.Context(), manyAddresses(t.provider.Profile().Batch), t.key)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > bound {
		err = errors.Join(err, fmt.Errorf("an answer of %d MiB made the process allocate %d MiB: limit the number of entries",
			len(body)>>20, used>>20))
	}
	return errors.Join(err, o.noAnswers(), o.want(reputation.ResultBadAnswer), t.wantRequests(1))
}

// deepMembers sends answers of which one member is large and nested deeply, and measures that it is not read once for
// each level.
func (s *suite) deepMembers(tb testing.TB) error {
	const depth, size, bound = 50, 800_000, 24 << 20
	member := `"` + strings.Repeat("a", 100) + `":0`
	innermost := "{" + strings.Repeat(member+",", size/len(member)) + member + "}"
	nested := json.RawMessage(strings.Repeat(`{"a":`, depth) + innermost + strings.Repeat("}", depth))
	one := s.Batch.Entries[slices.IndexFunc(s.Batch.Entries, func(e Entry) bool { return e.Body != "" })] // there are two
	name, first := memberName(one.Body), one.Addr
	var whole any
	if err := json.Unmarshal([]byte(one.Body[len(name):]), &whole); err != nil {
		return err
	}
	const enough = 15 // addresses, for an answer of this size
	var faults []error
	variants(whole, "", func(any) any { return nested }, func(path string) {
		entry, _ := json.Marshal(whole)
		body := s.Batch.Before + name + string(entry) + s.Batch.After
		t := s.fixture(tb, reply(http.StatusOK, s.sample.Header.Get("Content-Type"), body))
		addrs := manyAddresses(min(t.provider.Profile().Batch, enough))
		addrs = append([]netip.Addr{first}, slices.DeleteFunc(addrs[1:], func(a netip.Addr) bool { return a == first })...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := t.askAll(tb.Context(), addrs, t.key)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > bound {
			err = errors.Join(err, fmt.Errorf("an answer of %d kB made the process allocate %d MiB: read it once",
				len(body)/1000, used>>20))
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("with a deep %s: %w", path, err))
		}
	})
	return errors.Join(faults...)
}

// manyAddresses returns n addresses, or as many as documentation has.
func manyAddresses(n int) (addrs []netip.Addr) {
	for i := range min(n, 3*256) {
		network := [][3]byte{{192, 0, 2}, {198, 51, 100}, {203, 0, 113}}[i/256]
		addrs = append(addrs, netip.AddrFrom4([4]byte{network[0], network[1], network[2], byte(i)}))
	}
	return addrs
}
