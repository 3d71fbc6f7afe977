package feed

import (
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
)

// asnLines returns n lines, AS64500 and on.
func asnLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "AS%d\n", 64500+i)
	}
	return b.String()
}

// A list of autonomous systems is fetched, guarded, stored and found like a list of addresses.
func TestListOfASNs(t *testing.T) {
	dir := t.TempDir()
	server, url := serve(t,
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"1"`)
			text(`{"asn":64500,"rir":"ripencc","cc":"DE"}`+"\n"+`{"asn":"64501"}`+"\n"+`{"asn":64500}`+"\n"+`{"asn":0}`+"\n"+`{"type":"metadata"}`+"\n")(w, nil)
		},
		status(http.StatusNotModified),
		text("<html>"),
	)
	spec := Spec{
		Name: "one", URLs: []string{url}, ASNs: true,
		Format: listformat.Format{Encoding: listformat.NDJSON, Members: []string{"asn"}},
	}
	s := mustOpen(t, Options{Dir: dir}, spec)
	checkNamed(t, s, 64500, "")
	for range 2 {
		if err := fetchNow(s, "one"); err != nil {
			t.Fatal(err)
		}
		checkNamed(t, s, 64500, "US", "one")
		checkNamed(t, s, 64502, "")
	}
	if err := fetchNow(s, "one"); classify(err) != ResultHTML {
		t.Errorf("error %v", err)
	}
	checkNamed(t, s, 64501, "", "one")
	if got := statusOf(t, s, "one"); got.Entries != 2 || got.Lines != 3 || got.Ignored != 1 || !strings.Contains(got.FirstIgnored, "autonomous system") {
		t.Errorf("status %+v", got)
	}
	if copied := read(t, dir, "one.list"); !strings.HasSuffix(copied, "\nAS64500\nAS64501\n") {
		t.Errorf("the copy:\n%s", copied)
	}

	again := mustOpen(t, Options{Dir: dir}, spec)
	checkNamed(t, again, 64501, "", "one")
	if n := len(server.seen()); n != 3 {
		t.Errorf("%d requests", n)
	}
	spec.ASNs = false
	if s := mustOpen(t, Options{Dir: dir}, spec); s.Current().Lists[0].Loaded {
		t.Error("a list of addresses was read from the copy of one of autonomous systems")
	}
}

func TestListOfASNsIsGuarded(t *testing.T) {
	_, url := serve(t, text(asnLines(40)), text(asnLines(10)), text(strings.Repeat("AS64500\n", 60)+asnLines(40)), text(strings.Repeat("AS64500\n", 60)+asnLines(41)))
	s := mustOpen(t, Options{}, Spec{Name: "one", URLs: []string{url}, ASNs: true, MaxEntries: 40})
	if err := fetchNow(s, "one"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []Result{ResultShrunk, ResultOK, ResultTooLarge} {
		if err := fetchNow(s, "one"); err == nil && want != ResultOK || err != nil && classify(err) != want {
			t.Errorf("fetch %d: error %v, want %s", i, err, want)
		}
	}
	checkNamed(t, s, 64539, "", "one")
}

// Values may be of both kinds. Two lists of the same networks have the same content.
func TestASNValues(t *testing.T) {
	prefixes := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	s := mustOpen(t, Options{},
		Spec{Name: "both", Values: prefixes, ASNValues: []uint32{64501, 64500, 64501}},
		Spec{Name: "asns", ASNValues: []uint32{64500, 64501}},
		Spec{Name: "same", ASNValues: []uint32{64501, 64500}},
	)
	checkListed(t, s, "both", []string{"198.51.100.7"}, "192.0.2.1")
	checkNamed(t, s, 64500, "", "both", "asns", "same")
	lists := s.Current().Lists
	if lists[0].Entries != 3 || lists[1].Entries != 2 || lists[1].Content != lists[2].Content || lists[0].Content == lists[1].Content {
		t.Errorf("%+v", lists)
	}
}

// A file takes effect while it changes, and its copy when it is gone. A strict check names the wrong line.
func TestFileOfASNs(t *testing.T) {
	dir := t.TempDir()
	spec := Spec{Name: "one", File: filepath.Join(dir, "asns.txt"), ASNs: true, Own: true}
	write(t, spec.File, "# hosting\nAS64500 # EXAMPLE\n64501\n")
	s := mustOpen(t, Options{Dir: dir}, spec)
	s.Start()
	checkNamed(t, s, 64501, "", "one")
	write(t, spec.File, "64502\n")
	for end := time.Now().Add(20 * time.Second); len(s.Current().Named(64502, "")) == 0; {
		if time.Now().After(end) {
			t.Fatal("the file is not watched")
		}
		time.Sleep(time.Millisecond)
	}
	checkNamed(t, s, 64501, "")

	write(t, spec.File, "64502\n192.0.2.1\n")
	if err := CheckFile(spec); err == nil || !strings.Contains(err.Error(), "line 2") || !strings.Contains(err.Error(), "AS64500") {
		t.Errorf("error %v", err)
	}
}

// Instances share the copy of a list of autonomous systems.
func TestSharedListOfASNs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{answer: func(int) (int, string, string) { return http.StatusOK, asnLines(3), "" }}
		spec := secretSpec()
		spec.ASNs = true
		sets := instances(t, 3, new(store), p, spec)
		time.Sleep(time.Minute)
		synctest.Wait()
		for i, s := range sets {
			checkNamed(t, s, 64502, "", fmt.Sprintf("one_%d", i))
		}
		if n := len(p.times()); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}
