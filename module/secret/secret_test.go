package secret

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
)

// TestOpenRefusesAPath proves that a path is never taken for the secret in it, whether it stands in the configuration or
// in the variable that this names; and that a file which holds what looks like a path is.
func TestOpenRefusesAPath(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("/not/a/file"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("IPREP_TEST_KEY_FILE", file)
	t.Setenv("IPREP_TEST_KEY", "/9j4AAQSkZJRgABAQ==")
	for value, want := range map[string]string{
		file:                          "the key looks like a path, and would itself be the key: write `key {env.NAME}`",
		"/run/secrets/not-there":      "the key looks like a path",
		"$IPREP_TEST_KEY":             "the key looks like a placeholder, and is none",
		"IPREP_TEST_KEY":              "the key looks like the name of a variable, and would itself be the key",
		"{env.IPREP_TEST_KEY_FILE}":   "the key {env.IPREP_TEST_KEY_FILE} is the path of a file: write `key {file./path/to/key}`",
		"{env.IPREP_TEST_KEY}":        "",
		"{file." + file + "}":         "",
		"hunter2":                     "",
		"{env.IPREP_TEST_NOT_THERE}":  "is empty",
		"prefix-{env.IPREP_TEST_KEY}": "",

		"{env.IPREP_TEST_KEY}:{env.IPREP_TEST_NOT_THERE}": "key {env.IPREP_TEST_NOT_THERE} is empty",
		"{env.IPREP_TEST_NOT_THERE}:{env.IPREP_TEST_KEY}": "key {env.IPREP_TEST_NOT_THERE} is empty",
	} {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
		defer cancel()
		var leases process.Leases
		_, err := (&Secret{Value: value}).Open(ctx, &leases, Use{
			Name: "test", Option: "key", Logger: slog.New(slog.DiscardHandler),
		})
		if got := errorText(err); (want == "") != (err == nil) || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
		if strings.Contains(errorText(err), file) {
			t.Errorf("%q: the error repeats the path: %v", value, err)
		}
		if err := leases.Release(); err != nil {
			t.Error(err)
		}
	}
}

func TestCheckHeader(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for value, wrong := range map[string]bool{
		"Bearer hunter2": false, "Bearer {env.KEY}": false, "Bearer {key}": false, "/lists/bad": false, "a; b=c": false,
		"Bearer $KEY": true, "env.KEY": true, "Bearer " + file: true, "file./run/secrets/key": true,
	} {
		if err := CheckHeader("Authorization", value); (err != nil) != wrong {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
