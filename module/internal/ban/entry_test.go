package ban

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAddReturnsWhatIsKept(t *testing.T) {
	s := open(t, "")
	at := time.Date(2026, 3, 1, 12, 0, 0, 300e6, time.FixedZone("", 3600))
	tests := map[string]struct {
		given, want string
		expires     time.Time
	}{
		"host bits are cleared":     {"203.0.113.5/24", "203.0.113.0/24", time.Time{}},
		"an address stays one":      {"203.0.113.5/32", "203.0.113.5/32", time.Time{}},
		"IPv4-mapped becomes IPv4":  {"::ffff:203.0.113.5/120", "203.0.113.0/24", time.Time{}},
		"IPv6":                      {"2001:db8::5/64", "2001:db8::/64", time.Time{}},
		"an end in whole seconds":   {"203.0.113.6/32", "203.0.113.6/32", time.Date(2999, 1, 1, 0, 0, 1, 0, time.UTC)},
		"an end is rounded upwards": {"203.0.113.6/32", "203.0.113.6/32", time.Date(2999, 1, 1, 0, 0, 0, 1, time.UTC)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := s.Add(Entry{Kind: Ban, Prefix: netip.MustParsePrefix(tc.given), Created: at, Expires: tc.expires, Reason: "é / ☂"})
			if err != nil {
				t.Fatal(err)
			}
			want := Entry{
				Kind: Ban, Prefix: netip.MustParsePrefix(tc.want), Reason: "é / ☂",
				Created: time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC),
			}
			if !tc.expires.IsZero() {
				want.Expires = time.Date(2999, 1, 1, 0, 0, 1, 0, time.UTC)
			}
			if diff := cmp.Diff(want, got, comparePrefixes); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAddRefuses(t *testing.T) {
	now := time.Now()
	one := netip.MustParsePrefix("203.0.113.5/32")
	ban := func(prefix string) Entry { return Entry{Kind: Ban, Prefix: netip.MustParsePrefix(prefix)} }
	exempt := func(prefix string) Entry { return Entry{Kind: Exemption, Prefix: netip.MustParsePrefix(prefix)} }
	tests := map[string]struct {
		entry Entry
		want  string // in the error; empty: none
	}{
		"no prefix":                           {Entry{Kind: Ban}, "203.0.113.5/32"},
		"no kind":                             {Entry{Prefix: one}, "ban or exemption"},
		"another kind":                        {Entry{Kind: 3, Prefix: one}, "ban or exemption"},
		"a ban of everybody":                  {ban("0.0.0.0/0"), "/8 is the broadest: ban its parts"},
		"a ban of half the Internet":          {ban("0.0.0.0/7"), "too broad"},
		"the broadest ban":                    {ban("203.0.0.0/8"), ""},
		"a ban of IPv6":                       {ban("::/0"), "/16 is the broadest"},
		"a ban of much of IPv6":               {ban("2000::/15"), "too broad"},
		"the broadest ban of IPv6":            {ban("2001::/16"), ""},
		"a mapped ban of everybody":           {ban("::ffff:0.0.0.0/96"), "too broad"},
		"a mapped ban of more than everybody": {ban("::ffff:0.0.0.0/90"), "write the IPv4 prefix itself"},
		"an exemption of everybody":           {exempt("0.0.0.0/0"), "mode observe"},
		"an exemption of all of IPv6":         {exempt("::/0"), "mode observe"},
		"an exemption of the unique locals":   {exempt("fc00::/7"), "private addresses are never judged"},
		"an exemption of half the Internet":   {exempt("128.0.0.0/1"), "/8 is the broadest"},
		"the broadest exemption":              {exempt("203.0.0.0/8"), ""},
		"the broadest exemption of IPv6":      {exempt("2001::/16"), ""},
		"the longest reason":                  {Entry{Kind: Ban, Prefix: one, Reason: strings.Repeat("x", 500)}, ""},
		"too long a reason":                   {Entry{Kind: Ban, Prefix: one, Reason: strings.Repeat("x", 501)}, "501 bytes: shorten it to 500"},
		"a reason of two lines":               {Entry{Kind: Ban, Prefix: one, Reason: "a\nb"}, "do not print"},
		"a reason that turns the line around": {Entry{Kind: Ban, Prefix: one, Reason: "a\u202eb"}, "do not print"},
		"a reason with an escape sequence":    {Entry{Kind: Ban, Prefix: one, Reason: "\x1b[2J"}, "do not print"},
		"a reason that is not text":           {Entry{Kind: Ban, Prefix: one, Reason: "\xff"}, "do not print"},
		"a second":                            {Entry{Kind: Ban, Prefix: one, Created: now, Expires: now.Add(time.Second)}, ""},
		"less than a second":                  {Entry{Kind: Ban, Prefix: one, Created: now, Expires: now.Add(time.Second - 1)}, "1s or more"},
		"no time at all":                      {Entry{Kind: Ban, Prefix: one, Created: now, Expires: now}, "1s or more"},
		"over already":                        {Entry{Kind: Ban, Prefix: one, Created: now.Add(-time.Hour), Expires: now.Add(-time.Minute)}, "1s or more"},
		"an end that JSON cannot say": {
			Entry{Kind: Ban, Prefix: one, Expires: time.Date(9999, 12, 31, 23, 59, 59, 1, time.UTC)}, "leave out the end",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(t, "")
			_, err := s.Add(tc.entry)
			if tc.want == "" {
				if err != nil || s.Len(tc.entry.Kind) != 1 {
					t.Fatalf("got %v and %d entries", err, s.Len(tc.entry.Kind))
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || errors.Is(err, ErrNotSaved) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
			if s.Len(Ban)+s.Len(Exemption) != 0 {
				t.Error("something was added")
			}
		})
	}
}
