package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"
)

// TestExample proves that Caddyfile.example is what an operator can start from: with nothing but a key in the environment
// it is valid, trusts nobody, changes nothing for visitors and asks the real service.
func TestExample(t *testing.T) {
	config := adaptExample(t)
	if err := validate(t, config); err == nil || !strings.Contains(err.Error(), "key") {
		t.Errorf("without a key: %v, want an error that names it", err)
	}
	t.Setenv("ABUSEIPDB_KEY", "s3cret")
	if err := validate(t, adaptExample(t)); err != nil {
		t.Error(err)
	}

	for _, want := range []string{
		`"host":["app.example.com"]`,
		`"listen":[":443"]`,
		`"trusted_proxies":{"source":"static"},"trusted_proxies_strict":1`,
		`"mode":"observe"`,
		`"sources":["spamhaus_drop"]`,
		`"url":"https://api.abuseipdb.com/api/v2"`,
		`"keys":[{"value":"{env.ABUSEIPDB_KEY}"}]`,
	} {
		if !bytes.Contains(config, []byte(want)) {
			t.Errorf("no %s in:\n%s", want, config)
		}
	}
}

// TestExampleFormat proves that `caddy fmt` has nothing to say.
func TestExampleFormat(t *testing.T) {
	text := readExample(t)
	if formatted := caddyfile.Format(text); !bytes.Equal(formatted, text) {
		t.Errorf("%s is not formatted: run `caddy fmt --overwrite %[1]s`", example)
	}
}

func readExample(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", example))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// adaptExample turns the example into JSON while none of the variables that it names is set.
func adaptExample(t *testing.T) []byte {
	t.Helper()
	text := readExample(t)
	for _, name := range regexp.MustCompile(`\{\$([A-Z_]+)`).FindAllSubmatch(text, -1) {
		t.Setenv(string(name[1]), "") // so that it is put back
		if err := os.Unsetenv(string(name[1])); err != nil {
			t.Fatal(err)
		}
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": example})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// validate provisions a configuration without running it. Nothing is fetched and nobody is asked.
func validate(t *testing.T, config []byte) error {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	storage := caddy.DefaultStorage
	caddy.DefaultStorage = &certmagic.FileStorage{Path: dir}
	t.Cleanup(func() { caddy.DefaultStorage = storage })
	var parsed *caddy.Config
	if err := json.Unmarshal(config, &parsed); err != nil {
		t.Fatal(err)
	}
	return caddy.Validate(parsed)
}
