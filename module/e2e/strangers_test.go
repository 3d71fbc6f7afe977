//go:build unix

package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestStrangersInTheDataFolder proves that nothing that stands in place of a file keeps Caddy from starting: it waits for
// no writer of a named pipe, and reads no file that is larger than it may be.
func TestStrangersInTheDataFolder(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"pipes": func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"sparse files": func(path string) error {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				return err
			}
			return os.Truncate(path, 6<<30)
		},
		"folders": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			c, _, _ := guarded(t, "198.51.100.0/24\n")
			folder := filepath.Join(c.dataDir, "caddy", "ip_reputation")
			if err := os.MkdirAll(filepath.Join(folder, "feeds"), 0o700); err != nil {
				t.Fatal(err)
			}
			files := []string{"quota.json", "memory.bin", "forgets.json", "feeds/published.list", "feeds/published.wait"}
			if name == "sparse files" {
				files = append(files, "bans.json") // set aside; anything else in its place refuses a start, at once
			}
			for _, file := range files {
				if err := put(filepath.Join(folder, file)); err != nil {
					t.Fatal(err)
				}
			}
			r := startCaddy(t, c)
			if got := r.visit(t, badClient).status; got != http.StatusForbidden {
				t.Errorf("a bad client is answered with status %d", got)
			}
			eventually(t, "the list is fetched", func() bool { return r.visit(t, scannerClient).status == http.StatusForbidden })
			for _, said := range []string{"the copy of a list cannot be read", "quotas start from zero", "what was remembered of addresses cannot be used"} {
				if !strings.Contains(r.logs(t), said) {
					t.Errorf("the log does not say %q", said)
				}
			}
		})
	}
}

// TestStrangersInTheConfiguration proves that a named pipe where the configuration names a file is an error, at once.
func TestStrangersInTheConfiguration(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	c := newConfig(t)
	r := startCaddy(t, c)
	for name, global := range map[string]string{
		"deny":     "deny " + pipe,
		"exempt":   "exempt " + pipe,
		"feed":     "feed " + pipe + " {\nname one\n}",
		"key":      "provider abuseipdb {\nkey {file." + pipe + "}\n}",
		"CA":       "redis 127.0.0.1:1 {\ntls {\nca " + pipe + "\n}\n}",
		"address":  "redis {file." + pipe + "}",
		"database": "history {file." + pipe + "}",
	} {
		if err := load(c.caddyfile(global, "")); err == nil || !strings.Contains(err.Error(), pipe+": not a regular file") &&
			!strings.Contains(err.Error(), "is empty: check that the variable is set") {
			t.Errorf("%s: %v", name, err)
		}
	}
	bans := filepath.Join(c.dataDir, "caddy", "ip_reputation", "bans.json")
	r.stop(t)
	if err := syscall.Mkfifo(bans, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.tryReload(t); err == nil || !strings.Contains(err.Error(), "bans.json: not a regular file") {
		t.Errorf("bans: %v", err)
	}
}
