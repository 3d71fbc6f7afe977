package feed

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// awaitListed waits until the published snapshot lists addr, or does not, and fails when it never does.
func awaitListed(t *testing.T, s *Set, addr string, want bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for isListed(s.Current(), addr, "deny") != want {
		if time.Now().After(deadline) {
			t.Fatalf("%s: listed is not %v; status: %+v", addr, want, s.Status())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// awaitFailure waits until the last attempt failed with an error that says something.
func awaitFailure(t *testing.T, s *Set, says string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !strings.Contains(statusOf(t, s, "deny").LastError, says) {
		if time.Now().After(deadline) {
			t.Fatalf("no error that says %q; status: %+v", says, s.Status())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestCheckFile proves that a check reports every mistake in a file, with its line.
func TestCheckFile(t *testing.T) {
	dir := t.TempDir()
	wrong, empty := filepath.Join(dir, "wrong.txt"), filepath.Join(dir, "empty.txt")
	write(t, wrong, "# ours\n192.0.2.1\n192.0.2.999\n")
	write(t, empty, "# nobody\n")
	for _, test := range []struct {
		name string
		spec Spec
		says []string
	}{
		{"missing", Spec{Name: "deny", File: dir + "/none.txt", Own: true}, []string{"none.txt", "no such file"}},
		{"directory", Spec{Name: "deny", File: dir, Own: true}, []string{dir, "not a regular file"}},
		{"wrong line", Spec{Name: "deny", File: wrong, Own: true}, []string{wrong, `line 3: "192.0.2.999" is not an address or a CIDR`}},
		{"empty", Spec{Name: "deny", File: empty, Own: true}, []string{empty, "empty"}},
		{"too large", Spec{Name: "deny", File: wrong, MaxBytes: 8}, []string{wrong, "larger than 8 bytes"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := CheckFile(test.spec)
			for _, says := range test.says {
				if err == nil || !strings.Contains(err.Error(), says) {
					t.Errorf("got %v, want %q", err, says)
				}
			}
		})
	}
	if s := mustOpen(t, Options{}, Spec{Name: "deny", File: empty, AllowEmpty: true}); !s.Current().Lists[0].Loaded {
		t.Error("a list that may be empty is not loaded")
	}
	s := mustOpen(t, Options{}, Spec{Name: "deny", File: wrong})
	if !isListed(s.Current(), "192.0.2.1", "deny") || statusOf(t, s, "deny").Ignored != 1 {
		t.Error("one wrong line in a list of others was not passed over")
	}
}

// TestFileIsWatched changes a file in all the ways that editors, tools and Kubernetes do.
func TestFileIsWatched(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		folder := t.TempDir()
		path := filepath.Join(folder, "deny.txt")
		write(t, path, "192.0.2.1\n10.0.0.0/8\n")
		var seen results
		s := mustOpen(t, Options{Dir: dir, Observe: seen.observe}, Spec{Name: "deny", File: path, Own: true})
		if !isListed(s.Current(), "10.1.2.3", "deny") {
			t.Error("an own list may name private ranges")
		}
		s.Start()

		write(t, path, "192.0.2.2\n")
		awaitListed(t, s, "192.0.2.2", true)
		awaitListed(t, s, "192.0.2.1", false)

		write(t, path+".new", "192.0.2.3\n")
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		awaitListed(t, s, "192.0.2.3", true)

		write(t, path, "192.0.2.4\nnonsense\n")
		awaitListed(t, s, "192.0.2.4", true) // an urgent line must not wait for the cure of another
		if got := statusOf(t, s, "deny"); got.Ignored != 1 || !strings.Contains(got.FirstIgnored, `line 2: "nonsense"`) {
			t.Errorf("the wrong line is not said: %+v", got)
		}

		write(t, path, "nonsense\n")
		awaitFailure(t, s, `line 1: "nonsense"`)
		if !isListed(s.Current(), "192.0.2.4", "deny") {
			t.Error("the last good list is not in force")
		}
		s.rebuild() // another list changes
		if !isListed(s.Current(), "192.0.2.4", "deny") {
			t.Error("the last good list did not survive a rebuild")
		}

		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		awaitFailure(t, s, "no such file")
		write(t, path, "192.0.2.5\n")
		awaitListed(t, s, "192.0.2.5", true)
		if got := statusOf(t, s, "deny"); got.LastError != "" || got.Kind != KindFile || got.Source != path {
			t.Errorf("status: %+v", got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSymlinkIsWatched(t *testing.T) {
	folder := t.TempDir()
	for name, body := range map[string]string{"..v1": "192.0.2.1\n", "..v2": "192.0.2.2\n"} {
		if err := os.Mkdir(filepath.Join(folder, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(folder, name, "deny.txt"), body)
	}
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("..v1", "..data")
	link("..data/deny.txt", "deny.txt")
	s := mustOpen(t, Options{Dir: t.TempDir()}, Spec{Name: "deny", File: filepath.Join(folder, "deny.txt"), Own: true})
	s.Start()
	link("..v2", "..data_tmp")
	if err := os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")); err != nil {
		t.Fatal(err)
	}
	awaitListed(t, s, "192.0.2.2", true)
	awaitListed(t, s, "192.0.2.1", false)
}

func TestRefreshOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deny.txt")
	write(t, path, "192.0.2.1\n")
	s := mustOpen(t, Options{}, Spec{Name: "deny", File: path, Own: true})
	s.Start()
	for _, addr := range []string{"192.0.2.2", "192.0.2.3"} { // no floor: nobody else is asked
		write(t, path, addr)
		if err := s.Refresh(t.Context(), "deny"); err != nil {
			t.Fatal(err)
		}
		awaitListed(t, s, addr, true)
	}
}
