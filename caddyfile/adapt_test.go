package caddyfile_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/caddyserver/certmagic"
	"github.com/google/go-cmp/cmp"

	_ "github.com/caddy-ip-reputation/caddy-ip-reputation"
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/caddyfile"
)

var update = flag.Bool("update", false, "write the JSON of testdata/adapt anew; errors are written by hand")

// Each file of testdata/adapt is a Caddyfile, a line of dashes, and the JSON it becomes or a part of the error it is
// refused with. Files named load_* are syntax without fault: they are refused when the modules are provisioned.
const (
	testdata = "../testdata/adapt"
	dashes   = "\n----------\n"
)

// TestAdapt proves that each feature becomes the JSON it should and that this JSON loads, and that each mistake is refused
// with an error that names the line.
func TestAdapt(t *testing.T) {
	provisionInTemp(t)
	files, err := filepath.Glob(filepath.Join(testdata, "*.caddyfiletest"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no test files in %s: %v", testdata, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".caddyfiletest")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, ok := strings.Cut(string(text), dashes)
			if !ok {
				t.Fatal("no line of ten dashes between the Caddyfile and what it becomes")
			}
			input, want = input+"\n", strings.TrimSpace(want)
			config, err := adapt([]byte(input))
			switch {
			case strings.HasPrefix(name, "load_"):
				if err != nil {
					t.Fatalf("adapting: %v", err)
				}
				wantError(t, validate(t, config), want)
			case *update && err == nil && (want == "" || strings.HasPrefix(want, "{")):
				write(t, file, input, config)
			case strings.HasPrefix(want, "{"):
				if err != nil {
					t.Fatalf("adapting: %v", err)
				}
				if diff := cmp.Diff(want, indent(t, config)); diff != "" {
					t.Errorf("JSON (-want +got):\n%s", diff)
				}
				if err := validate(t, config); err != nil {
					t.Errorf("loading: %v", err)
				}
			default:
				wantError(t, err, want)
				if want != "" && !strings.Contains(want, "at Caddyfile:") {
					t.Errorf("the expected error names no line: %s", want)
				}
			}
		})
	}
}

// FuzzAdapt proves that no Caddyfile makes the parser panic, and that what it accepts is JSON.
func FuzzAdapt(f *testing.F) {
	files, err := filepath.Glob(filepath.Join(testdata, "*.caddyfiletest"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		input, _, _ := strings.Cut(string(text), dashes)
		f.Add([]byte(input))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if bytes.Contains(input, []byte("import")) {
			return // would read files that the fuzzer makes up
		}
		config, err := adapt(input)
		if err == nil && !json.Valid(config) {
			t.Errorf("not JSON: %s", config)
		}
	})
}

func adapt(input []byte) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(input, map[string]any{"filename": "Caddyfile"})
	return config, err
}

// provisionInTemp keeps what provisioning writes away from the home of whoever runs the tests.
func provisionInTemp(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	t.Setenv("ABUSEIPDB_KEY", "a-key-for-tests")
	t.Setenv("WEBHOOK_SECRET", "whsec_bm90aGluZy1idXQtdGVzdHMtdXNlLWl0")
	t.Setenv("TEST_API_TOKEN", "token-of-tests-0123456789")
	t.Setenv("TEST_API_TOKEN_2", "token-of-tests-abcdefghij")
	t.Setenv("IP_REPUTATION_TEST_DSN", "https://a-key-for-tests@sentry.example.com/1")
	t.Setenv("IP_REPUTATION_TEST_DATABASE", "postgres://caddy:password-of-caddy@db.example.com/reputation")
	storage := caddy.DefaultStorage
	caddy.DefaultStorage = &certmagic.FileStorage{Path: dir}
	t.Cleanup(func() { caddy.DefaultStorage = storage })
}

func validate(t *testing.T, config []byte) error {
	t.Helper()
	var parsed *caddy.Config
	if err := json.Unmarshal(config, &parsed); err != nil {
		t.Fatalf("decoding the JSON: %v", err)
	}
	return caddy.Validate(parsed)
}

func indent(t *testing.T, config []byte) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, config, "", "\t"); err != nil {
		t.Fatalf("indenting the JSON: %v", err)
	}
	return out.String()
}

func write(t *testing.T, file, input string, config []byte) {
	t.Helper()
	text := strings.TrimSuffix(input, "\n") + dashes + indent(t, config) + "\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatalf("accepted; want an error that contains:\n%s", want)
	}
	if want == "" || !strings.Contains(err.Error(), want) {
		t.Errorf("error:\n%v\nwant one that contains:\n%s", err, want)
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the error gives a secret away: %v", err)
	}
}
