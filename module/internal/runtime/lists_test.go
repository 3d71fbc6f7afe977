package runtime

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
)

func newLists(set *feed.Set) *Lists {
	l := new(Lists)
	l.set.Store(set)
	return l
}

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
	rt := &Runtime{
		Logger: slog.New(slog.NewTextHandler(&log, nil)), Lists: newLists(set), repeatsLogged: map[string]string{},
		ListNames:    []string{"one", "two", "three", "deny", "four"},
		ListMeanings: []lookup.List{{}, {}, {}, {Kind: lookup.Deny}, {}},
	}
	for range 3 {
		rt.warnOfRepeats()
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
