//go:build unix

package regularfile

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// strangers makes what may stand in place of a file. None of them can be read to its end.
func strangers(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	pipe, socket, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "socket"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(pipe, link); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return map[string]string{"folder": dir, "pipe": pipe, "link to a pipe": link, "socket": socket, "device": "/dev/zero"}
}

func TestStrangers(t *testing.T) {
	for name, path := range strangers(t) {
		if _, _, err := Open(path, 1<<20); !errors.Is(err, ErrNotRegular) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if data, err := Read(path, 1<<20); !errors.Is(err, ErrNotRegular) || data != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := CheckPlaceholders("Bearer {file." + path + "}"); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	for most, want := range map[int64]error{4: ErrTooLarge, 5: nil, 6: nil} {
		data, err := Read(path, most)
		if !errors.Is(err, want) || want == nil && string(data) != "12345" || want != nil && data != nil {
			t.Errorf("at most %d bytes: %q, %v", most, data, err)
		}
	}
	if err := os.Truncate(path, 6<<30); err != nil { // sparse
		t.Fatal(err)
	}
	if _, err := Read(path, 1<<30); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "6442450944 bytes instead of at most 1073741824") {
		t.Error(err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	f, info, err := Open(link, 5)
	if err != nil || info.Size() != 5 {
		t.Fatal(info, err)
	}
	_ = f.Close()
	for _, err := range []error{CheckPlaceholders("{file." + link + "}"), CheckPlaceholders("{file." + dir + "/absent} {env.X} {file.}")} {
		if err != nil {
			t.Error(err)
		}
	}
	if _, _, err := Open(filepath.Join(dir, "absent"), 5); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
