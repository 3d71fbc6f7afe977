package listformat

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

// checkAccepted holds for whatever is read: it could not block the world, and nothing is unmasked.
func checkAccepted(t *testing.T, p netip.Prefix) {
	if !p.IsValid() || p != p.Masked() || address.TooWide(p) || p.Addr().Is4In6() && p.Bits() >= 96 {
		t.Errorf("%v was accepted", p)
	}
}

// fuzzFormat holds that whatever a list is made of, what is read is plausible, every line counts once, and memory is
// bounded.
func fuzzFormat(f *testing.F, format Format, seeds ...string) {
	for _, name := range seeds {
		found, err := filepath.Glob("../*/testdata/" + name) // of feed and preset
		if err != nil || len(found) == 0 {
			f.Fatal(name, err)
		}
		body, err := os.ReadFile(found[0])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte("\ufeff192.0.2.1,x\r\n"))
	f.Add([]byte(`{"a":[{"ip":"::1"}],"b":{}}`))
	f.Add([]byte(`{"x":[[[[{"":{"":"`))
	f.Add([]byte("192.0.2.0 - 192.0.2.9\n192.0.2.0 255.255.255.0\n"))
	if err := format.Complete(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var before, after runtime.MemStats
		entries := 0
		list := List{Add: func(p netip.Prefix) error {
			entries++
			checkAccepted(t, p)
			return nil
		}}
		runtime.ReadMemStats(&before)
		err := list.Read(bytes.NewReader(body), format, Options{})
		runtime.ReadMemStats(&after)
		if entries != list.Lines || entries+list.Wrong+list.Skipped > len(body) || (list.Wrong > 0) != (list.FirstWrong != nil) {
			t.Errorf("%d entries, %+v, %v", entries, list, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20+uint64(16*len(body)) {
			t.Errorf("%d bytes were allocated for %d", took, len(body))
		}
	})
}

func FuzzText(f *testing.F) {
	fuzzFormat(f, Format{}, "firehol_level1.netset", "bruteforceblocker.txt")
}

func FuzzCounted(f *testing.F) { fuzzFormat(f, Format{MinCount: 3}, "ipsum.txt") }

func FuzzNDJSON(f *testing.F) {
	fuzzFormat(f, Format{Encoding: NDJSON, Members: []string{"cidr"}}, "spamhaus_drop_v4.json", "spamhaus_drop_v6.json")
}

func FuzzJSON(f *testing.F) {
	fuzzFormat(f, Format{Encoding: JSON, Members: []string{"ip_address", "ipv4Prefix", "ipv6Prefix", "a.ip"}}, "feodo.json", "google_crawlers.json", "aws.json")
}

func FuzzCSV(f *testing.F) {
	fuzzFormat(f, Format{Encoding: CSV, Members: []string{"dst_ip"}}, "feodo.csv")
}
