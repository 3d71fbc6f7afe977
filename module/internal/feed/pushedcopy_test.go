package feed

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPushedListComesBack(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "stream.pushed")
	until := time.Now().Add(time.Hour)
	s, err := Open([]Spec{stream("stream")}, Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if _, err := s.Push("stream", Changes{Added: []Entry{
		{ID: 1, Prefix: netip.MustParsePrefix("198.51.100.1/32"), Until: until}, {ID: 2, Prefix: netip.MustParsePrefix("198.51.100.1/32")},
		entry(3, "2001:db8::/64"), {ID: 4, Prefix: netip.MustParsePrefix("198.51.100.4/32"), Until: time.Now().Add(-time.Hour)},
	}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Push("stream", Changes{}); !errors.Is(err, ErrClosed) {
		t.Errorf("pushing to a closed set: %v", err)
	}
	s = mustOpen(t, Options{Dir: dir}, stream("stream"))
	checkListed(t, s, "stream", []string{"198.51.100.1", "2001:db8::1"}, "198.51.100.4")
	if got := statusOf(t, s, "stream"); !got.Stored || !got.Loaded || got.LastSuccess.IsZero() {
		t.Errorf("status %+v", got)
	}
	mustPush(t, s, "stream", Changes{Deleted: []uint64{2}})
	checkListed(t, s, "stream", []string{"198.51.100.1"})
	mustPush(t, s, "stream", Changes{Deleted: []uint64{1}})
	checkListed(t, s, "stream", []string{"2001:db8::1"}, "198.51.100.1")

	other := stream("stream")
	other.Pushed = "another.example.org"
	if s := mustOpen(t, Options{Dir: dir}, other); s.Current().Lists[0].Loaded {
		t.Error("the copy of another stream is taken for that of this one")
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), fmt.Sprintf("\n198.51.100.1/32 1 %d\n", until.Unix())) {
		t.Errorf("the copy cannot be searched by hand: %v\n%s", err, text)
	}
	for cut := range text {
		if _, _, err := readPushed(bytes.NewReader(text[:cut]), 10, 1); err == nil && cut < len(text)-1 {
			t.Errorf("cut off after %d of %d bytes it is read", cut, len(text))
		}
		flipped := bytes.Clone(text)
		flipped[cut] ^= 1
		if _, _, err := readPushed(bytes.NewReader(flipped), 10, 1); err == nil {
			t.Errorf("with byte %d changed it is read", cut)
		}
	}
	if err := os.WriteFile(file, text[:len(text)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if s := mustOpen(t, Options{Dir: dir}, stream("stream")); s.Current().Lists[0].Loaded {
		t.Error("a damaged copy is used")
	}
}

// A process that is killed has lost a minute at most.
func TestPushedListIsSavedInTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, Options{Dir: dir}, stream("stream"))
		s.Start()
		if _, err := s.Push("stream", Changes{Added: []Entry{entry(1, "198.51.100.1/32")}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(savePause + time.Second)
		if _, _, _, err := loadPushed(filepath.Join(dir, "stream.pushed"), s.lists[0].fingerprint, 10, 1); err != nil {
			t.Error(err)
		}
	})
}

// Any bytes either fail or give a list that is written as it was read.
func FuzzReadPushed(f *testing.F) {
	var text bytes.Buffer
	some := entries{}
	some.add(entry(1, "198.51.100.1/32"))
	some.add(Entry{ID: 2, Prefix: netip.MustParsePrefix("2001:db8::/64"), Until: time.Unix(2e9, 0)})
	some.add(asn(3, 64500))
	some.add(country(4, "AS"))
	h := copyHeader{name: "stream", source: "stream.example.org", spec: "x", fetched: time.Unix(1e9, 0), lines: 4, entries: 4, sum: laterSum}
	if err := writePushed(&text, &h, &some); err != nil {
		f.Fatal(err)
	}
	f.Add(text.Bytes())
	f.Add([]byte(copyTitle + "\n# sha256: \n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		read, h, err := readPushed(bytes.NewReader(b), 100, 4)
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writePushed(&again, &h, &read); err != nil {
			t.Fatal(err)
		}
		h.entries = read.count()
		if back, _, err := readPushed(&again, 100, 4); err != nil || !cmp.Equal(read, back, cmp.AllowUnexported(entries{}, entry4{}, entry6{}, entryName{})) {
			t.Errorf("read again: %v", err)
		}
	})
}
