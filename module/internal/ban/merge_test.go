package ban

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/replica"
)

func TestMergeTakesOver(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "bans.json")
	a, _ := openAt(t, "", c.now)
	b, log := openAt(t, path, c.now)
	step := func(want string, wantChanged int, wantLog string) {
		t.Helper()
		log.Take()
		changed, newer := merge(t, b, a.Entries())
		if changed != wantChanged || newer != nil {
			t.Errorf("%d changed and %v is newer, want %d and nothing", changed, newer, wantChanged)
		}
		if got := lookup(b, addr); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if text := log.Take(); wantLog == "" && text != "" || !strings.Contains(text, wantLog) {
			t.Errorf("logged %q, want %q", text, wantLog)
		}
		restarted, _ := openAt(t, path, c.now)
		if diff := cmp.Diff(a.List(Ban), restarted.List(Ban), comparePrefixes); diff != "" {
			t.Errorf("after a restart: %s", diff)
		}
	}
	step("", 0, "")
	put(t, a, prefix, time.Hour)
	step("banned", 1, `msg="added by another instance" kind=ban prefix=203.0.113.0/24 reason=test`)
	step("banned", 0, "")
	put(t, a, prefix, 0)
	step("banned", 1, `msg="added by another instance"`)
	put(t, a, prefix2, 0)
	if _, err := a.Add(Entry{Kind: Exemption, Prefix: netip.MustParsePrefix(prefix)}); err != nil {
		t.Fatal(err)
	}
	step("exempt", 2, `msg="bans and exemptions changed by other instances" count=2`)
	if _, err := a.Remove(Exemption, netip.MustParsePrefix(prefix)); err != nil {
		t.Fatal(err)
	}
	step("banned", 1, `msg="removed by another instance" kind=exemption`)
	unban(t, a, prefix)
	step("", 1, `msg="removed by another instance" kind=ban prefix=203.0.113.0/24 reason=test`)
	step("", 0, "")
}

// change returns one with the given members in its JSON, in their order.
func change(name string, version int64, members string) replica.Entry {
	return replica.Entry{Name: name, Version: version, Value: []byte("{" + members + "}")}
}

func TestMergeSkips(t *testing.T) {
	c := newClock()
	now := c.now().UnixMilli()
	const name, is = "ban 203.0.113.0/24", `"prefix":"203.0.113.0/24","kind":"ban","created":"2026-01-01T00:00:00Z"`
	with := func(version int64, members string) replica.Entry {
		return change(name, version, fmt.Sprintf(`%s,"version":%d%s`, is, version, members))
	}
	day := int64(24 * time.Hour / time.Millisecond)
	tests := map[string]struct {
		given replica.Entry
		want  string // in the log; empty: it is taken over
	}{
		"good":                      {with(now, ""), ""},
		"a member more":             {with(now, `,"by":"later versions"`), ""},
		"a day ahead":               {with(now+day, ""), ""},
		"more than a day ahead":     {with(now+day+1, ""), "compare the clocks"},
		"a removal far ahead":       {with(now+10*day, `,"removed":true`), "compare the clocks"},
		"no JSON":                   {change(name, now, "\x00"), "invalid character"},
		"nothing":                   {replica.Entry{}, "end of JSON"},
		"null":                      {replica.Entry{Name: name, Version: now, Value: []byte("null")}, "kind is missing"},
		"too long":                  {with(now, `,"x":"`+strings.Repeat("x", 2048)+`"`), "2048 at most"},
		"another name":              {change("ban 203.0.113.0/25", now, fmt.Sprintf(`%s,"version":%d`, is, now)), "203.0.113.0/25"},
		"a long name":               {change(strings.Repeat("x", 1000), now, is), strings.Repeat("x", maxShownName) + `\"`},
		"another version":           {change(name, now+1, fmt.Sprintf(`%s,"version":%d`, is, now)), "it is version"},
		"a version below all":       {with(-1, ""), "is not a time"},
		"a version beyond all":      {with(1<<62, ""), "is not a time"},
		"no kind":                   {change(name, now, fmt.Sprintf(`"prefix":"203.0.113.0/24","version":%d`, now)), "kind is missing"},
		"a ban of everybody":        {change("ban 0.0.0.0/0", now, fmt.Sprintf(`"prefix":"0.0.0.0/0","kind":"ban","version":%d`, now)), "too broad"},
		"an exemption of everybody": {change("exemption ::/0", now, fmt.Sprintf(`"prefix":"::/0","kind":"exemption","version":%d`, now)), "too broad"},
		"a reason of two lines":     {with(now, `,"reason":"a\nb"`), "do not print"},
		"a reason too long":         {with(now, `,"reason":"`+strings.Repeat("x", 501)+`"`), "shorten it"},
	}
	for title, tc := range tests {
		t.Run(title, func(t *testing.T) {
			s, log := openAt(t, "", c.now)
			good := change("ban 198.51.100.7/32", now, fmt.Sprintf(`"prefix":"198.51.100.7/32","kind":"ban","version":%d`, now))
			changed, newer := merge(t, s, []replica.Entry{tc.given, good})
			if newer != nil || lookup(s, "198.51.100.7") != "banned" {
				t.Errorf("the good one beside it: %d, %v", changed, newer)
			}
			text := log.Take()
			if tc.want == "" {
				if changed != 2 || s.Len(Ban) != 2 || strings.Contains(text, "WARN") {
					t.Errorf("not taken over: %d, %v\n%s", changed, s.List(Ban), text)
				}
				return
			}
			if changed != 1 || s.Len(Ban) != 1 || len(s.Entries()) != 1 {
				t.Errorf("taken over: %d, %v", changed, s.List(Ban))
			}
			if !strings.Contains(text, "level=WARN") || !strings.Contains(text, "count=1") || !strings.Contains(text, tc.want) {
				t.Errorf("logged %s, want %q", text, tc.want)
			}
		})
	}
}

func TestSkippedChangesAreToldOnceAMinute(t *testing.T) {
	c := newClock()
	s, log := openAt(t, "", c.now)
	for range 5 {
		merge(t, s, []replica.Entry{{}, {}})
	}
	if got := log.Take(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "count=2") {
		t.Errorf("at once: %s", got)
	}
	c.add(maxPause)
	s.expire(false)
	if got := log.Take(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "count=8") {
		t.Errorf("after a minute: %s", got)
	}
	c.add(maxPause)
	s.expire(false)
	if got := log.Take(); got != "" {
		t.Errorf("again: %s", got)
	}
}

func TestMergeReturnsWhatIsNewer(t *testing.T) {
	c := newClock()
	a, _ := openAt(t, "", c.now)
	b, _ := openAt(t, "", c.now)
	put(t, a, prefix, 0)
	put(t, a, prefix2, 0)
	exchange(t, a, b)
	c.add(time.Second)
	old := a.Entries()
	unban(t, a, prefix)
	put(t, a, "192.0.2.0/24", 0) // which b does not ask about
	want := slices.DeleteFunc(a.Entries(), func(c replica.Entry) bool { return c.Name != "ban "+prefix })

	for range 2 {
		if changed, newer := merge(t, a, b.Entries()); changed != 0 || !cmp.Equal(newer, want) {
			t.Errorf("%d, %v, want %v", changed, newer, want)
		}
	}
	if _, newer := merge(t, a, append(b.Entries(), want...)); newer != nil {
		t.Errorf("given the newest version too: %v", newer)
	}
	if changed, newer := merge(t, b, append(want, old...)); changed != 1 || newer != nil {
		t.Errorf("the newest version first: %d, %v", changed, newer)
	}
	if b.Len(Ban) != 1 {
		t.Errorf("left: %v", b.List(Ban))
	}
}

// Of different changes with the same version all take the same one, in whatever order they hear of them.
func TestEqualVersions(t *testing.T) {
	c := newClock()
	var changes []replica.Entry
	for i, members := range []string{`"reason":"b"`, `"reason":"a"`, `"reason":"b","created":"2026-01-01T00:00:00Z"`, `"removed":true`, `"expires":"2026-01-01T13:00:00Z"`} {
		ch := change("ban "+prefix, 1767268800000, `"prefix":"203.0.113.0/24","kind":"ban",`+members+`,"version":1767268800000`)
		e, err := parseEntry(ch, c.now())
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		changes = append(changes, e.entry())
	}
	want := slices.MaxFunc(changes, func(a, b replica.Entry) int { return bytes.Compare(a.Value, b.Value) })
	for range 20 {
		s, _ := openAt(t, "", c.now)
		for _, ch := range changes {
			merge(t, s, []replica.Entry{ch})
		}
		if got := s.Entries(); len(got) != 1 || !bytes.Equal(got[0].Value, want.Value) {
			t.Fatalf("got %v, want %v", got, want)
		}
		_, newer := merge(t, s, changes[:1])
		if !bytes.Equal(changes[0].Value, want.Value) && (len(newer) != 1 || !bytes.Equal(newer[0].Value, want.Value)) {
			t.Errorf("newer than %v: %v", changes[0], newer)
		}
		changes = append(changes[1:], changes[0])
	}
}

// file tells whether the file was written: it is then another one.
func file(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestNothingNewCostsNothing(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "bans.json")
	s, _ := openAt(t, path, c.now)
	other, _ := openAt(t, "", c.now)
	put(t, s, prefix, 0)
	put(t, s, prefix2, 0)
	exchange(t, s, other)
	put(t, s, prefix, time.Hour) // remembers that it took the place of one without an end
	unban(t, s, prefix2)
	merge(t, s, other.Entries())

	before, snapshot := file(t, path), s.current.Load()
	for _, changes := range [][]replica.Entry{nil, s.Entries(), other.Entries(), {{}}} {
		if changed, _ := merge(t, s, changes); changed != 0 {
			t.Errorf("%d changed", changed)
		}
	}
	if !os.SameFile(before, file(t, path)) {
		t.Error("the file was written")
	}
	if s.current.Load() != snapshot {
		t.Error("the index was built")
	}
	// a removal of what is not known here is to be remembered, but leaves the index alone
	put(t, other, "192.0.2.0/24", 0)
	unban(t, other, "192.0.2.0/24")
	if changed, _ := merge(t, s, other.Entries()); changed != 0 || os.SameFile(before, file(t, path)) {
		t.Errorf("%d changed, or the removal was not written", changed)
	}
	if s.current.Load().index != snapshot.index {
		t.Error("the index was built for a removal of nothing")
	}
}

func TestMergeIsBounded(t *testing.T) {
	c := newClock()
	s, log := openAt(t, "", c.now)
	list := make([]Entry, maxEntries-1)
	for i := range list {
		addr := netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)})
		list[i] = Entry{Kind: Ban, Prefix: netip.PrefixFrom(addr, 32), Created: c.now().Add(-time.Hour).Truncate(time.Second).UTC()}
	}
	fill(s, list)
	now := c.now().UnixMilli()
	offer := func(prefix string, version int64, members string) replica.Entry {
		return change("ban "+prefix, version, fmt.Sprintf(`"prefix":%q,"kind":"ban","version":%d%s`, prefix, version, members))
	}
	given := []replica.Entry{
		offer("192.0.2.3/32", now-1, ""), offer("192.0.2.1/32", now-3, ""), offer("192.0.2.2/32", now-2, ""),
		offer("203.0.0.0/32", now, ""),                   // in the place of one that is there
		offer("203.0.0.1/32", now, `,"removed":true`),    // makes room
		offer("198.51.100.1/32", now, `,"removed":true`), // takes none
	}
	if changed, _ := merge(t, s, given); changed != 4 || s.Len(Ban) != maxEntries {
		t.Errorf("%d changed, %d entries", changed, s.Len(Ban))
	}
	if lookup(s, "192.0.2.1") != "banned" || lookup(s, "192.0.2.2") != "banned" || lookup(s, "192.0.2.3") != "" {
		t.Error("not the first ones were taken")
	}
	if got := log.Take(); !strings.Contains(got, "count=1") || !strings.Contains(got, "deny or exempt file") {
		t.Errorf("logged %s", got)
	}
	if changed, newer := merge(t, s, given); changed != 0 || newer != nil {
		t.Errorf("again: %d, %v", changed, newer)
	}
	unban(t, s, "203.0.0.2/32")
	if changed, _ := merge(t, s, given); changed != 1 || lookup(s, "192.0.2.3") != "banned" {
		t.Errorf("when there is room: %d", changed)
	}
}

func TestChanged(t *testing.T) {
	c := newClock()
	a, _ := openAt(t, "", c.now)
	b, _ := openAt(t, "", c.now)
	waiting := map[*Store]<-chan struct{}{a: a.Changed(), b: b.Changed()}
	expect := func(s *Store, want bool) { // since it was asked last
		t.Helper()
		select {
		case <-waiting[s]:
			if !want {
				t.Error("changed")
			}
		default:
			if want {
				t.Error("not changed")
			}
		}
		waiting[s] = s.Changed()
	}
	expect(a, false)
	put(t, a, prefix, 0)
	put(t, a, prefix2, time.Second)
	expect(a, true)
	expect(a, false)
	merge(t, b, a.Entries())
	expect(b, false)
	unban(t, a, prefix)
	expect(a, true)
	if ok, err := a.Remove(Ban, netip.MustParsePrefix(prefix)); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	if _, err := a.Add(Entry{}); err == nil {
		t.Error("no error")
	}
	c.add(time.Minute)
	a.expire(false)
	expect(a, false)
}

func TestMergeAfterClose(t *testing.T) {
	c := newClock()
	a, _ := openAt(t, "", c.now)
	b, _ := openAt(t, "", c.now)
	put(t, a, prefix, 0)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if changed, newer, err := b.merge(a.Entries()); changed != 0 || newer != nil || !errors.Is(err, ErrClosed) {
		t.Errorf("%d, %v, %v", changed, newer, err)
	}
	if b.Len(Ban) != 0 || len(b.Entries()) != 0 {
		t.Error("something was taken over")
	}
}

func TestMergeOntoADiskThatFails(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "bans.json")
	a, _ := openAt(t, "", c.now)
	b, _ := openAt(t, path, c.now)
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil { // renaming onto it fails
		t.Fatal(err)
	}
	put(t, a, prefix, 0)
	changed, _, err := b.merge(a.Entries())
	if changed != 1 || !errors.Is(err, ErrNotSaved) || lookup(b, addr) != "banned" {
		t.Errorf("%d, %v, %s", changed, err, lookup(b, addr))
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	b.expire(true)
	if restarted, _ := openAt(t, path, c.now); restarted.Len(Ban) != 1 {
		t.Error("not on disk after the disk is well")
	}
}
