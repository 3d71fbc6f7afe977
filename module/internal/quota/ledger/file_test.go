package ledger

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
)

// used returns what a ledger has counted for the account "a".
func used(t testing.TB, l *Local, w Window) int {
	t.Helper()
	grant, err := l.Take(context.Background(), "a", Limits{Windows: []Window{w}}, 0, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return grant.Usage[0].Used
}

func spend(t testing.TB, l *Local, w Window, n int) {
	t.Helper()
	grant, err := l.Take(context.Background(), "a", Limits{Windows: []Window{w}}, n, time.Now())
	if err != nil || !grant.Granted {
		t.Fatalf("spend %d of %s: %+v, %v", n, w, grant, err)
	}
}

func TestRestartKeepsTheCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "folder", "quotas.json")
		day := Window{10, Day}
		l := OpenLocal(path, slog.Default())
		spend(t, l, day, 7)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = OpenLocal(path, slog.Default())
		if got := used(t, l, day); got != 7 {
			t.Errorf("used %d after a restart, want 7", got)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("file: %v, %v", info, err)
		}
		time.Sleep(24 * time.Hour)
		if got := used(t, OpenLocal(path, slog.Default()), day); got != 0 {
			t.Errorf("used %d on the next day, want 0", got)
		}
	})
}

func TestSavedWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "quotas.json")
		l := OpenLocal(path, slog.Default())
		for range 5 {
			spend(t, l, Window{1000, Day}, 1)
			time.Sleep(saveDelay / 10)
		}
		if _, err := os.Stat(path); err == nil {
			t.Error("saved at once: every call would wait for the disk, or keep it busy")
		}
		time.Sleep(saveDelay / 2)
		synctest.Wait()
		if got := used(t, OpenLocal(path, slog.Default()), Window{1000, Day}); got != 5 {
			t.Errorf("a second after the first call %d calls are on disk, want 5", got)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSaveFailsAndIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := filepath.Join(t.TempDir(), "folder")
		if err := os.WriteFile(folder, nil, 0o600); err != nil { // A file where the folder should be.
			t.Fatal(err)
		}
		var said logtest.Log
		path := filepath.Join(folder, "quotas.json")
		l := OpenLocal(path, said.Logger())
		for range 30 {
			spend(t, l, Window{1000, Day}, 1)
			time.Sleep(2 * saveDelay)
		}
		synctest.Wait()
		if n := strings.Count(said.String(), "a restart would forget"); n != 1 {
			t.Errorf("logged %d times in a minute, want once:\n%s", n, said.String())
		}
		if err := l.Close(); err == nil {
			t.Error("Close reports no error")
		}
		if err := os.Remove(folder); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if got := used(t, OpenLocal(path, slog.Default()), Window{1000, Day}); got != 30 {
			t.Errorf("%d calls are on disk, want 30", got)
		}
	})
}

func TestUselessFile(t *testing.T) {
	tests := map[string]struct {
		content, says string
		used          int
	}{
		"good":              {content: `{"version":1,"accounts":{"a":{"day":{"start":"2000-01-01T00:00:00Z","used":3}}}}`, used: 3},
		"other zone":        {content: `{"version":1,"accounts":{"a":{"day":{"start":"2000-01-01T01:00:00+01:00","used":3}}}}`, used: 3},
		"old window":        {content: `{"version":1,"accounts":{"a":{"day":{"start":"1999-12-31T00:00:00Z","used":3}}}}`},
		"far future window": {content: `{"version":1,"accounts":{"a":{"day":{"start":"2000-03-01T00:00:00Z","used":3}}}}`},
		"empty":             {content: "", says: "damaged"},
		"cut off":           {content: `{"version":1,"accounts":{"a":{"day":`, says: "damaged"},
		"zeros":             {content: strings.Repeat("\x00", 100), says: "damaged"},
		"newer version":     {content: `{"version":2,"accounts":{}}`, says: "version 2 is not known"},
		"no version":        {content: `{}`, says: "version 0 is not known"},
		"unknown period":    {content: `{"version":1,"accounts":{"a":{"year":{"start":"2000-01-01T00:00:00Z","used":3}}}}`, says: "unknown period"},
		"negative":          {content: `{"version":1,"accounts":{"a":{"day":{"start":"2000-01-01T00:00:00Z","used":-3}}}}`, says: "has -3 calls"},
		"too many":          {content: `{"version":1,"accounts":{"a":{"day":{"start":"2000-01-01T00:00:00Z","used":1000000001}}}}`, says: "has 1000000001 calls"},
		"crooked window":    {content: `{"version":1,"accounts":{"a":{"day":{"start":"2000-01-01T00:00:01Z","used":3}}}}`, says: "no day has"},
		"of a store":        {content: shareFile(`"used":3,"owed":5,"told":4,"epoch":"e","changes":7`), used: 4},
		"not yet stored":    {content: shareFile(`"used":0,"owed":2`), used: 2},
		"all owed":          {content: shareFile(`"used":1,"owed":2`), used: 3},
		"more told":         {content: shareFile(`"used":3,"owed":1,"told":2,"epoch":"e","changes":1`), says: "of 1 calls in a day, 2 cannot be"},
		"negative told":     {content: shareFile(`"used":3,"told":-1,"epoch":"e","changes":1`), says: "-1 cannot be"},
		"too many owed":     {content: shareFile(`"used":3,"owed":1000000001,"epoch":"e","changes":1`), says: "of 1000000001 calls"},
		"told to nobody":    {content: shareFile(`"used":3,"owed":1,"told":1`), says: "an answer of the store that is none"},
		"changes of none":   {content: shareFile(`"used":3,"changes":1`), says: "an answer of the store that is none"},
		"no changes":        {content: shareFile(`"used":3,"epoch":"e"`), says: "an answer of the store that cannot be"},
		"negative changes":  {content: shareFile(`"used":3,"epoch":"e","changes":-1`), says: "an answer of the store that cannot be"},
		"long epoch":        {content: shareFile(`"used":3,"changes":1,"epoch":"` + strings.Repeat("e", maxNameSize+1) + `"`), says: "an epoch of 65 bytes"},
		"long instance":     {content: `{"version":1,"instance":"` + strings.Repeat("i", maxNameSize+1) + `","accounts":{}}`, says: "the instance has 65 bytes"},
		"huge":              {content: strings.Repeat(" ", maxFileSize+1), says: "larger than"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // The clock says 2000-01-01.
				path := filepath.Join(t.TempDir(), "quotas.json")
				if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
					t.Fatal(err)
				}
				var said logtest.Log
				l := OpenLocal(path, said.Logger())
				if got := used(t, l, Window{10, Day}); got != tt.used {
					t.Errorf("used %d, want %d", got, tt.used)
				}
				if (said.String() == "") != (tt.says == "") || !strings.Contains(said.String(), tt.says) {
					t.Errorf("says %q, want %q", said.String(), tt.says)
				}
				spend(t, l, Window{10, Day}, 1)
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				if got := used(t, OpenLocal(path, slog.Default()), Window{10, Day}); got != tt.used+1 {
					t.Errorf("used %d after the file was replaced, want %d", got, tt.used+1)
				}
			})
		})
	}
}

// shareFile is a file with one count.
func shareFile(count string) string {
	return `{"version":1,"instance":"i","accounts":{"a":{"day":{"start":"2000-01-01T00:00:00Z",` + count + `}}}}`
}

// A file without a store has no word of it, so that it can be read by whoever knows none.
func TestFileRoundTrip(t *testing.T) {
	at := mustTime(t, "2027-01-01T12:00:00Z")
	local := memory()
	spend := func(l Ledger) {
		if g, err := l.Take(context.Background(), "a", Limits{Windows: []Window{{9, Day}, {9, Month}}}, 2, at); err != nil || !g.Granted {
			t.Fatalf("%+v, %v", g, err)
		}
	}
	spend(local)
	data, err := encode(ledgerState{local.instance, local.accounts})
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"instance", "owed", "told", "epoch", "changes"} {
		if bytes.Contains(data, []byte(word)) {
			t.Errorf("without a store the file has the word %q:\n%s", word, data)
		}
	}
	l := &link{store: newStoreTwin(time.Now)}
	shared := NewShared(l, local, 1, slog.New(slog.DiscardHandler))
	spend(shared)
	l.set(cut)
	spend(shared)
	again := restarted(t, local, at)
	for _, p := range []Period{Day, Month} {
		if want, got := local.accounts["a"][p], again.accounts["a"][p]; again.instance != local.instance || got != want {
			t.Errorf("%q %+v is read back as %q %+v", local.instance, want, again.instance, got)
		}
	}
}

func TestFolderInPlaceOfTheFile(t *testing.T) {
	var said logtest.Log
	path := t.TempDir()
	l := OpenLocal(path, said.Logger())
	spend(t, l, Window{10, Month}, 1)
	if err := l.Close(); err == nil || !strings.Contains(said.String(), path) {
		t.Errorf("Close: %v, log: %s", err, said.String())
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"version":1,"accounts":{"abuseipdb":{"day":{"start":"2027-01-01T00:00:00Z","used":3}}}}`,
		`{"version":1,"accounts":{"a":{"week":{"start":"2026-11-23T00:00:00Z","used":1}},"":{}}}`,
		`{"version":1,"accounts":{"a":{"month":{"start":"0001-01-01T00:00:00Z","used":1000000000}}}}`,
		`{"version":1,"accounts":{"a":{"minute":{"start":"9999-12-31T23:59:00Z","used":1}}}}`,
		shareFile(`"used":3,"owed":5,"told":4,"epoch":"e","changes":7`), shareFile(`"used":0,"owed":1`),
		shareFile(`"used":3,"owed":1000000000,"told":1000000000,"epoch":"\u00e9\ufffd<","changes":9223372036854775807`),
		`{"version":2}`, `{}`, `null`, ``, "\x00",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decode(data)
		if err != nil {
			return
		}
		once, err := encode(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decode(once)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := encode(again)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s\nis read back as\n%s\n%v", once, twice, err)
		}
	})
}
