package feed

import (
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
)

// TestOtherRecordedFormats: any URL or file in a usual notation can be read.
func TestOtherRecordedFormats(t *testing.T) {
	for _, test := range []struct {
		file   string
		format listformat.Format
		listed []string
		not    []string
		lines  int
	}{
		{"spamhaus_drop.txt", listformat.Format{}, []string{"203.0.113.0", "198.51.100.127"}, []string{"198.51.100.128"}, 2},
		{"feodo.csv", listformat.Format{Encoding: listformat.CSV, Members: []string{"dst_ip"}}, []string{"203.0.113.32"}, []string{"203.0.113.33"}, 1},
		{"feodo_empty.txt", listformat.Format{}, nil, []string{"203.0.113.33"}, 0},
		{"bruteforceblocker.txt", listformat.Format{}, []string{"203.0.113.48", "198.51.100.89"}, nil, 2},
		{"apple_relay.csv", listformat.Format{}, []string{"203.0.113.225", "2001:db8:2:1000::1"}, nil, 3},
		{"google_crawlers.json", listformat.Format{Encoding: listformat.JSON, Members: []string{"ipv4Prefix", "ipv6Prefix"}}, []string{"203.0.113.64", "2001:db8:4801:10::1"}, []string{"203.0.113.63"}, 2},
		{"aws.json", listformat.Format{Encoding: listformat.JSON, Members: []string{"ip_prefix", "ipv6_prefix"}}, []string{"203.0.113.1", "2001:db8:aa::1"}, []string{"203.0.113.128"}, 3},
	} {
		t.Run(test.file, func(t *testing.T) {
			checkLists(t, Spec{Name: "one", File: "testdata/" + test.file, Format: test.format, AllowEmpty: test.lines == 0}, test.listed, test.not, test.lines)
		})
	}
}

func checkLists(t *testing.T, spec Spec, listed, not []string, lines int) {
	t.Helper()
	s := mustOpen(t, Options{Dir: t.TempDir()}, spec)
	if spec.kind() == KindURL {
		if err := fetchNow(s, spec.Name); err != nil {
			t.Fatal(err)
		}
	}
	s.rebuild() // from the copy
	for _, addr := range listed {
		if !isListed(s.Current(), addr, spec.Name) {
			t.Errorf("%s is not listed", addr)
		}
	}
	for _, addr := range not {
		if isListed(s.Current(), addr, spec.Name) {
			t.Errorf("%s is listed", addr)
		}
	}
	if got := statusOf(t, s, spec.Name); got.Lines != lines || got.Ignored != 0 || !got.Loaded || got.Terms != spec.Terms {
		t.Errorf("status: %+v", got)
	}
}
