package listing

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// fixed are contents written as maps.
type fixed struct {
	None
	addrs   map[netip.Addr]uint32
	members [][]uint16
	content map[int]string
}

func (f *fixed) Current() Contents             { return f }
func (f *fixed) Lookup(addr netip.Addr) uint32 { return f.addrs[addr] }
func (f *fixed) Members(set uint32) []uint16   { return f.members[set] }
func (f *fixed) Sets() int                     { return len(f.members) }
func (f *fixed) Loaded(int) bool               { return true }
func (f *fixed) Content(list int) string       { return f.content[list] }

// TestSameContentsCountOnce proves that a list under several names is one witness: the strongest of them counts, the
// others are shown with no points, and what they say of the address besides holds.
func TestSameContentsCountOnce(t *testing.T) {
	const copies = 200
	client := netip.MustParseAddr("203.0.113.10")
	lists := &fixed{addrs: map[netip.Addr]uint32{client: 1}, members: [][]uint16{nil, nil}, content: map[int]string{}}
	var meanings []List
	for i := range copies {
		m := List{Source: score.OfFeed(fmt.Sprintf("copy_%d", i), 0), Confidence: .5, Categories: reputation.CategoriesOf(reputation.Scanner)}
		m.Source.Group = "" // whatever the groups are
		if i == 7 {
			m.Confidence, m.Categories = .6, reputation.CategoriesOf(reputation.Spam)
		}
		meanings = append(meanings, m)
		lists.members[1] = append(lists.members[1], uint16(i))
		lists.content[i] = "the same"
	}
	verdict := func() reputation.Verdict {
		return NewMatcher(lists, meanings).Current().Match(client).Verdict
	}
	v := verdict()
	if v.Score != 14 || v.Coverage != 1 || len(v.Reasons) != copies {
		t.Errorf("score %d, coverage %v, %d reasons; want that of one list, 14", v.Score, v.Coverage, len(v.Reasons))
	}
	for i, r := range v.Reasons {
		if want := map[bool]float64{true: 12}[i == 0]; r.Points != want || (r.Source == "copy_7") != (i == 0) {
			t.Errorf("reason %d is %+v", i, r)
		}
	}
	if want := reputation.CategoriesOf(reputation.Scanner, reputation.Spam); v.Categories != want {
		t.Errorf("categories %v, want %v", v.Categories, want)
	}
	lists.content[8] = "another"
	if v := verdict(); v.Score != 61 {
		t.Errorf("a second witness makes the score %d, want 61", v.Score)
	}
}

func TestRepeats(t *testing.T) {
	weak := List{Source: score.Source{Trust: .5, Weight: 20}, Confidence: .6}
	strong := List{Source: score.Source{Trust: 1, Weight: 20}, Confidence: .6}
	own := List{Kind: Deny}
	meanings := []List{weak, own, strong, strong, weak, own, weak}
	contents := []string{"a", "a", "a", "a", "b", "b", ""}
	got := Repeats(meanings, func(i int) string { return contents[i] })
	if diff := cmp.Diff([]int{2, -1, -1, 2, -1, -1, -1}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
