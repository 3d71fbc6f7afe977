package providertest

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
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

// manyAddresses returns n addresses, or as many as documentation has.
func manyAddresses(n int) (addrs []netip.Addr) {
	for i := range min(n, 3*256) {
		network := [][3]byte{{192, 0, 2}, {198, 51, 100}, {203, 0, 113}}[i/256]
		addrs = append(addrs, netip.AddrFrom4([4]byte{network[0], network[1], network[2], byte(i)}))
	}
	return addrs
}
