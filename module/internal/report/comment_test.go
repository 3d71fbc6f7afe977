package report

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

func TestComment(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		violations []Violation
		want       string
	}{
		{[]Violation{{At: at, Category: reputation.Spam}}, "caddy: 1 request (spam in a web form)"},
		{[]Violation{
			{At: at, Category: reputation.BruteForce, Path: "/login"},
			{At: at.Add(90 * time.Second), Category: reputation.BruteForce, Path: "/login"},
		}, "caddy: 2 requests in 90 s (failed log-ins)"},
		{[]Violation{
			{At: at, Category: reputation.Scanner, Path: "/.git/config"},
			{At: at, Category: reputation.BruteForce, Path: "/shop/login"},
			{At: at, Category: reputation.Scanner, Path: "/.env"},
			{At: at, Category: reputation.Scanner, Path: "/.env"},
		}, "caddy: 4 requests (vulnerability scan 3, failed log-ins 1), 3 paths, e.g. /.git/config, /.env"},
	} {
		var d deeds
		for _, v := range tc.violations {
			d.add(&v)
		}
		if got := d.comment(); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}

// harmless is the form of all comments, without the well-known paths.
var harmless = regexp.MustCompile(`^caddy: \d+ requests?( in \d+ s)? \([a-z0-9_ ,-]+\)(, \d+ paths( or more)?)?$`)

// checkComment checks that a comment has nothing in it but fixed words, numbers and well-known paths.
func checkComment(t interface{ Fatalf(string, ...any) }, comment string) {
	head, paths, _ := strings.Cut(comment, ", e.g. ")
	if !harmless.MatchString(head) || len(comment) > reputation.MaxComment {
		t.Fatalf("the comment is %q", comment)
	}
	if paths == "" {
		return
	}
	for path := range strings.SplitSeq(paths, ", ") {
		if _, known := probes[path]; !known {
			t.Fatalf("%q is repeated", path)
		}
	}
}

// TestCommentsHaveNoPersonalData: whatever clients ask for, a comment repeats none of it that is not known to all.
func TestCommentsHaveNoPersonalData(t *testing.T) {
	known := make([]string, 0, len(probes))
	for path := range probes {
		known = append(known, path)
	}
	path := rapid.OneOf(rapid.String(), rapid.SampledFrom(known), rapid.Map(rapid.SampledFrom(known), func(path string) string {
		return path + "?user=jane@example.com"
	}))
	rapid.Check(t, func(t *rapid.T) {
		var d deeds
		for range rapid.IntRange(1, 300).Draw(t, "requests") {
			d.add(&Violation{
				Client:   netip.MustParseAddr("203.0.113.7"),
				At:       time.Unix(rapid.Int64Range(0, 1e10).Draw(t, "at"), 0),
				Category: reputation.Category(rapid.IntRange(0, 18).Draw(t, "category")),
				Path:     path.Draw(t, "path"),
			})
		}
		if len(d.paths) > maxPaths || len(d.shown) > maxShown {
			t.Fatalf("%d paths are remembered, %d of them in full", len(d.paths), len(d.shown))
		}
		checkComment(t, d.comment())
	})
}

func FuzzComment(f *testing.F) {
	f.Add("/.env", "/account/jane@example.com")
	f.Add("/.git/config\r\nX: y", "/.env/../jane")
	f.Fuzz(func(t *testing.T, first, second string) {
		var d deeds
		for _, path := range []string{first, second, first} {
			d.add(&Violation{At: time.Now(), Category: reputation.Scanner, Path: path})
		}
		checkComment(t, d.comment())
	})
}

// TestProbes: none of the paths that comments may repeat is more than a path in plain ASCII.
func TestProbes(t *testing.T) {
	if len(probes) < 50 {
		t.Errorf("there are %d of them", len(probes))
	}
	plain := regexp.MustCompile(`^/[A-Za-z0-9._/+;=-]{1,70}$`)
	for path := range probes {
		if !plain.MatchString(path) {
			t.Errorf("%q", path)
		}
	}
}
