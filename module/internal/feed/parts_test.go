package feed

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// The parts of a list are told apart in the snapshot, and are one list otherwise.
func TestPushParts(t *testing.T) {
	dir := t.TempDir()
	spec, other := stream("stream"), stream("other")
	spec.Parts, spec.MaxEntries = 3, 5
	other.Parts = 2
	s := mustOpen(t, Options{Dir: dir}, spec, Spec{Name: "deny", Values: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, other)
	of := func(part uint8, e Entry) Entry { e.Part = part; return e }
	mustPush(t, s, "stream", Changes{Added: []Entry{
		of(0, entry(1, "198.51.100.1/32")), of(2, entry(2, "198.51.100.0/24")), of(1, entry(3, "2001:db8::/64")), of(3, entry(4, "203.0.113.4/32")),
	}})
	mustPush(t, s, "other", Changes{Added: []Entry{of(1, entry(1, "198.51.100.1/32"))}})
	check := func(addr string, want ...uint16) {
		t.Helper()
		x := s.Current().Index
		if got := x.Members(x.Lookup(netip.MustParseAddr(addr))); !slices.Equal(got, want) {
			t.Errorf("%s is of the members %v, want %v", addr, got, want)
		}
	}
	check("198.51.100.1", 0, 4, 5)
	check("198.51.100.2", 4)
	check("2001:db8::1", 3)
	check("192.0.2.1", 1)
	check("203.0.113.4")
	for member, want := range []part{{0, 0}, {1, 0}, {2, 0}, {0, 1}, {0, 2}, {2, 1}} {
		if list, number := s.Current().ListOf(member); list != want.list || number != want.part {
			t.Errorf("member %d is part %d of list %d, want %+v", member, number, list, want)
		}
	}
	if got := statusOf(t, s, "stream"); got.Entries != 3 || got.Ignored != 1 || !strings.Contains(got.FirstIgnored, "no part 3") {
		t.Errorf("status %+v", got)
	}

	// an ID that comes again in another part has left its first one, and the first parts have precedence
	_, err := s.Push("stream", Changes{Added: []Entry{
		of(1, entry(1, "198.51.100.1/32")), of(2, entry(10, "203.0.113.10/32")), of(1, entry(11, "203.0.113.11/32")),
		of(2, entry(12, "203.0.113.12/32")), of(0, entry(13, "203.0.113.13/32")),
	}})
	if classify(err) != ResultTooLarge {
		t.Errorf("error %v", err)
	}
	s.rebuild()
	check("198.51.100.1", 3, 4, 5)
	check("203.0.113.13", 0)
	check("203.0.113.11", 3)
	check("203.0.113.10")
	if sizes, err := s.PartSizes("stream"); err != nil || !slices.Equal(sizes, []PartSize{{IPv4: 1}, {IPv4: 2, IPv6: 1}, {IPv4: 1}}) {
		t.Errorf("sizes %v, %v", sizes, err)
	}
	_, err = s.Replace("stream", func(yield func(Entry, error) bool) {
		for i := range uint64(100) {
			if !yield(of(2-uint8(i/50), entry(i, fmt.Sprintf("203.0.113.%d/32", i))), nil) {
				return
			}
		}
		_ = yield(Entry{}, fmt.Errorf("of a kind that nobody knows: %w", ErrLeftOut))
	})
	if got := statusOf(t, s, "stream"); classify(err) != ResultTooLarge || got.Ignored != 96 {
		t.Errorf("%v, status %+v", err, got)
	}
	s.rebuild()
	check("203.0.113.50", 3)
	check("203.0.113.54", 3)
	check("203.0.113.55")

	s.lists[0].savePushed()
	reopened := mustOpen(t, Options{Dir: dir}, spec)
	if sizes, err := reopened.PartSizes("stream"); err != nil || !slices.Equal(sizes, []PartSize{{}, {IPv4: 5}, {}}) {
		t.Errorf("sizes %v, %v", sizes, err)
	}
	spec.Filter = "another"
	if filtered := mustOpen(t, Options{Dir: dir}, spec); filtered.Current().Lists[0].Loaded {
		t.Error("a copy made with another filter is used")
	}
}

// What an entry names besides addresses is told apart by part as well.
func TestPushPartsOfNames(t *testing.T) {
	spec := stream("stream")
	spec.Parts, spec.MaxEntries = 2, 3
	s := mustOpen(t, Options{}, spec)
	mustPush(t, s, "stream", Changes{Added: []Entry{
		{ID: 1, ASN: 64500}, {ID: 2, Part: 1, ASN: 64500}, {ID: 3, Part: 1, Country: [2]byte{'F', 'R'}},
	}})
	if got := s.Current().Named(64500, ""); !slices.Equal(got, []uint16{0, 1}) {
		t.Errorf("AS64500 is named by %v", got)
	}
	if got := s.Current().Named(0, "FR"); !slices.Equal(got, []uint16{1}) {
		t.Errorf("FR is named by %v", got)
	}
	if _, err := s.Push("stream", Changes{Added: []Entry{entry(4, "198.51.100.4/32")}}); classify(err) != ResultTooLarge {
		t.Errorf("error %v", err)
	}
	if sizes, err := s.PartSizes("stream"); err != nil || !slices.Equal(sizes, []PartSize{{IPv4: 1, Names: 1}, {Names: 1}}) {
		t.Errorf("sizes %v, %v", sizes, err)
	}
}
