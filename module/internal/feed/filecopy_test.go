package feed

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestUnusableFileAtAStart proves that a file of which nothing can be used refuses no start: its copy is in force, or
// nothing is; the log and the status report both, and the mended file is in force without a restart.
func TestUnusableFileAtAStart(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"missing":    os.Remove,
		"all wrong":  func(path string) error { return os.WriteFile(path, []byte("nonsense\n"), 0o600) },
		"binary":     func(path string) error { return os.WriteFile(path, []byte("\x00\x01\x02\n"), 0o600) },
		"a web page": func(path string) error { return os.WriteFile(path, []byte("<html>\n"), 0o600) },
		"a folder":   replaceByFolder,
	} {
		t.Run(name, func(t *testing.T) {
			dir, path := t.TempDir(), filepath.Join(t.TempDir(), "deny.txt")
			write(t, path, "192.0.2.1\n10.0.0.0/8\n")
			spec := Spec{Name: "deny", File: path, Own: true, AllowEmpty: true}
			s := mustOpen(t, Options{Dir: dir}, spec)
			s.Start()
			awaitFile(t, filepath.Join(dir, "deny.list"))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}

			for _, at := range []struct {
				dir, says string
				listed    bool
			}{
				{dir, "its copy is in force", true},
				{t.TempDir(), "there is no copy: the list is empty", false},
			} {
				var log bytes.Buffer
				s := mustOpen(t, Options{Dir: at.dir, Logger: slog.New(slog.NewTextHandler(&log, nil))}, spec)
				for _, addr := range []string{"192.0.2.1", "10.1.2.3"} {
					if isListed(s.Current(), addr, "deny") != at.listed {
						t.Errorf("%s: %s is not as it should be", at.says, addr)
					}
				}
				if text := log.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, at.says) || !strings.Contains(text, path) {
					t.Errorf("the log lacks %q: %s", at.says, text)
				}
				got := statusOf(t, s, "deny")
				if got.Loaded != at.listed || got.Failures != 1 || !strings.Contains(got.LastError, path) || got.Stored != at.listed {
					t.Errorf("status: %+v", got)
				}
			}

			if name != "missing" {
				return
			}
			s = mustOpen(t, Options{Dir: dir}, spec)
			s.Start()
			write(t, path, "192.0.2.7\n")
			awaitListed(t, s, "192.0.2.7", true)
			awaitListed(t, s, "192.0.2.1", false)
			if got := statusOf(t, s, "deny"); got.LastError != "" || got.Failures != 0 {
				t.Errorf("mended: %+v", got)
			}
		})
	}
}

// TestWrongLinesAtAStart proves that the good lines of an own file act at a start, and that the wrong one is an error
// in the log.
func TestWrongLinesAtAStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deny.txt")
	write(t, path, "192.0.2.1\nnonsense\n192.0.2.3\n")
	var log bytes.Buffer
	s := mustOpen(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, Spec{Name: "deny", File: path, Own: true})
	if !isListed(s.Current(), "192.0.2.1", "deny") || !isListed(s.Current(), "192.0.2.3", "deny") {
		t.Error("the good lines do not act")
	}
	if got := statusOf(t, s, "deny"); got.Ignored != 1 || !strings.Contains(got.FirstIgnored, `line 2: "nonsense"`) {
		t.Errorf("status: %+v", got)
	}
	if text := log.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, "wrong lines of your own list") {
		t.Errorf("the log: %s", text)
	}
}

// replaceByFolder puts a folder where a file was: tests that run as root can read every file.
func replaceByFolder(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.Mkdir(path, 0o700)
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s never appeared", path)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
