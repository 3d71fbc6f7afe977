// Package pagetest holds parts of the documentation to what the code says.
package pagetest

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the part of the page anew")

// end ends a part that is made by code.
const end = "<!-- end -->\n"

// Check fails the test unless the part of a page that follows begin is want. With -update it writes that part.
func Check(tb testing.TB, path, begin, want string) {
	tb.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(page), begin)
	have, after, ends := strings.Cut(rest, end)
	switch {
	case !begins || !ends:
		tb.Fatalf("%s has no place for what %s makes: %q, and then %q", path, tb.Name(), begin, end)
	case *update:
		//nolint:gosec // a test names the page, whose mode stays as it is
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o600); err != nil {
			tb.Fatal(err)
		}
	case have != want:
		tb.Errorf("%s is not what the code says: run %s with -update (-page +code):\n%s", path, tb.Name(), cmp.Diff(have, want))
	}
}
