package feed

import (
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestTwoProcessesWithOneFolder proves that a second process has the lists on disk at once and writes none, and that it writes its
// own when it has the folder, also unchanged ones.
func TestTwoProcessesWithOneFolder(t *testing.T) {
	dir := t.TempDir()
	_, url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/busy":
			status(http.StatusTooManyRequests, "Retry-After", "600")(w, r)
		case r.Header.Get("If-None-Match") != "":
			w.WriteHeader(http.StatusNotModified)
		default:
			w.Header().Set("ETag", `"v1"`)
			text(addresses(20))(w, r)
		}
	})
	one := Spec{Name: "one", URLs: []string{url}}
	first := mustOpen(t, Options{Dir: dir}, one)
	if err := fetchNow(first, "one"); err != nil {
		t.Fatal(err)
	}
	files := func() (names []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	second := mustOpen(t, Options{Dir: dir, Detached: true},
		one, Spec{Name: "two", URLs: []string{url}}, Spec{Name: "busy", URLs: []string{url + "/busy"}})
	if !isListed(second.Current(), "198.51.100.1", "one") {
		t.Error("the list on disk is not in force")
	}
	if err := fetchNow(second, "two"); err != nil || !isListed(second.Current(), "198.51.100.1", "two") {
		t.Errorf("fetching another list: %v", err)
	}
	_ = fetchNow(second, "busy")
	if names := files(); len(names) != 1 {
		t.Errorf("beside another process, it has written %q", names)
	}
	second.Attach()
	if err := fetchNow(second, "two"); err != nil {
		t.Fatal(err)
	}
	_ = fetchNow(second, "busy")
	if names := files(); len(names) != 3 || !statusOf(t, second, "two").Stored {
		t.Errorf("with the folder, it has written %q", names)
	}
}

// TestAPushedListOfASecondProcess proves the same of lists that are pushed.
func TestAPushedListOfASecondProcess(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, Options{Dir: dir, Detached: true}, stream("stream"))
		s.Start()
		if _, err := s.Push("stream", Changes{Added: []Entry{entry(1, "198.51.100.1/32")}}); err != nil {
			t.Fatal(err)
		}
		stored := func() bool {
			time.Sleep(savePause + time.Second)
			_, err := os.Stat(dir + "/stream.pushed")
			return err == nil
		}
		if stored() {
			t.Error("it is written beside another process")
		}
		s.Attach()
		if !stored() {
			t.Error("it is not written by the process that has the folder")
		}
	})
}
