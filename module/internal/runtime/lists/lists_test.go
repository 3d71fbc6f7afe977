package lists

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
)

// TestWarnOfRepeats proves that the log names feeds with the same contents, each once, and no other lists.
func TestWarnOfRepeats(t *testing.T) {
	same := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("203.0.113.7/32")}
	set, err := feed.Open([]feed.Spec{
		{Name: "one", Values: same}, {Name: "two", Values: same}, {Name: "three", Values: same[:1]},
		{Name: "deny", Values: same}, {Name: "four", Values: []netip.Prefix{same[1], same[0]}},
	}, feed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set.Close() })
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	l := &Lists{
		Set: NewSet(set), Names: []string{"one", "two", "three", "deny", "four"},
		Meanings: []listing.List{{}, {}, {}, {Kind: listing.Deny}, {}},
	}
	for range 3 {
		l.warnOfRepeats(logger, time.Now())
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d entries:\n%s", n, log.String())
	}
	for _, want := range []string{"feed=two same_as=one", "feed=four same_as=one"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log.String())
		}
	}
}

// TestWarnOfOldLists proves that the log names lists that their publishers have given up, each once, and no other lists.
func TestWarnOfOldLists(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list.txt")
	modified := time.Now().Add(-48 * time.Hour)
	if err := errors.Join(os.WriteFile(file, []byte("192.0.2.1\n"), 0o600), os.Chtimes(file, modified, modified)); err != nil {
		t.Fatal(err)
	}
	set, err := feed.Open([]feed.Spec{
		{Name: "old", File: file, MaxAge: 24 * time.Hour}, {Name: "new", File: file, MaxAge: 72 * time.Hour}, {Name: "any", File: file},
	}, feed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set.Close() })
	var log bytes.Buffer
	logger, l := slog.New(slog.NewTextHandler(&log, nil)), &Lists{Set: NewSet(set)}
	for range 3 {
		l.warnOfOld(logger, time.Now())
	}
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "feed=old published=") {
		t.Errorf("%d entries:\n%s", n, log.String())
	}
}

// TestOverlaps proves that a list is told what it has in common with those of exempt addresses and of bots, and with no
// other list.
func TestOverlaps(t *testing.T) {
	of := func(prefixes ...string) (all []netip.Prefix) {
		for _, p := range prefixes {
			all = append(all, netip.MustParsePrefix(p))
		}
		return all
	}
	specs := []feed.Spec{
		{Name: "exempt", Values: of("192.0.2.0/28", "2001:db8::/48")},
		{Name: "deny", Values: of("192.0.2.0/24", "198.51.100.7/32")},
		{Name: "bot_example", Values: of("198.51.100.0/24")},
		{Name: "one", Values: of("198.51.100.1/32", "198.51.100.7/32", "198.51.100.9/32", "2001:db8::1/128")},
		{Name: "two", Values: of("203.0.113.0/24")},
	}
	set, err := feed.Open(specs, feed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set.Close() })
	l := &Lists{Set: NewSet(set)}
	for _, kind := range []listing.Kind{listing.Exempt, listing.Deny, listing.Exempt, listing.Feed, listing.Feed} {
		l.Meanings = append(l.Meanings, listing.List{Kind: kind})
	}
	want := [][]health.Overlap{
		nil, {{List: "exempt", Prefixes: 1}, {List: "bot_example", Prefixes: 1}}, nil,
		{{List: "exempt", Prefixes: 1}, {List: "bot_example", Prefixes: 3}}, nil,
	}
	if diff := cmp.Diff(want, l.Overlaps()); diff != "" {
		t.Error(diff)
	}
	l.Meanings[0].Kind, l.Meanings[2].Kind = listing.Feed, listing.Feed
	if diff := cmp.Diff(want, l.Overlaps()); diff != "" {
		t.Errorf("looked for again in the same snapshot: %s", diff)
	}
}
