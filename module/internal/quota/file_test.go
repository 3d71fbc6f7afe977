package quota

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
)

// used returns what a ledger has counted for the account "a".
func used(t testing.TB, l *Local, w Window) int {
	t.Helper()
	grant, err := l.Take(context.Background(), "a", []Window{w}, 0, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return grant.Usage[0].Used
}

func spend(t testing.TB, l *Local, w Window, n int) {
	t.Helper()
	grant, err := l.Take(context.Background(), "a", []Window{w}, n, time.Now())
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
		var said logs
		path := filepath.Join(folder, "quotas.json")
		l := OpenLocal(path, said.logger())
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
		"huge":              {content: strings.Repeat(" ", maxFileSize+1), says: "longer than"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // The clock says 2000-01-01.
				path := filepath.Join(t.TempDir(), "quotas.json")
				if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
					t.Fatal(err)
				}
				var said logs
				l := OpenLocal(path, said.logger())
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

func TestFolderInPlaceOfTheFile(t *testing.T) {
	var said logs
	path := t.TempDir()
	l := OpenLocal(path, said.logger())
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
		`{"version":2}`, `{}`, `null`, ``, "\x00",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		accounts, err := decode(data)
		if err != nil {
			return
		}
		once, err := encode(accounts)
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
