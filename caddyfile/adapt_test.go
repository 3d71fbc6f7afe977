package caddyfile_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
// refused with. Files named load_* are syntax without fault: they are refused when the modules are provisioned. See expand
// for what stands between double brackets in an error.
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
			input, want = input+"\n", expand(t, strings.TrimSpace(want))
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

// lists are what errors list, so that a word that is added is not added to each of them. None comes from what writes the
// errors.
var lists = regexp.MustCompile(`\[\[(providers|options)(?: (\w+))?\]\]`)

// expand puts lists into an expected error: [[providers]] are the modules that the
// packages of module/provider declare and that of these tests, [[options f]] the words of the syntax above a function.
func expand(t *testing.T, text string) string {
	t.Helper()
	return lists.ReplaceAllStringFunc(text, func(list string) string {
		var words []string
		switch m := lists.FindStringSubmatch(list); m[1] {
		case "providers":
			words = []string{"recorder"}
			for _, file := range sources(t, "../module/provider/*/*.go") {
				words = append(words, found(regexp.MustCompile(`"ip_reputation\.providers\.(\w+)"`), readText(t, file))...)
			}
			slices.Sort(words)
		case "options":
			words = syntaxOf(t, m[2])
		}
		if len(words) < 2 {
			t.Fatalf("nothing is found for %s", list)
		}
		return strings.Join(words, ", ")
	})
}

// TestOptionsOfTheOtherBlock proves that the error about an option in the wrong block says which one is right, for each.
func TestOptionsOfTheOtherBlock(t *testing.T) {
	ofAll, ofSite := syntaxOf(t, "parseApp"), syntaxOf(t, "parseHandler")
	for _, tc := range []struct {
		here, there    []string
		caddyfile, has string
	}{
		{ofAll, ofSite, "{\n\tip_reputation {\n\t\t%s\n\t}\n}\n", "write it into the ip_reputation of a site"},
		{ofSite, ofAll, "app.example.com {\n\tip_reputation {\n\t\t%s\n\t}\n}\n", "write it into ip_reputation of the global"},
	} {
		for _, word := range tc.there {
			if slices.Contains(tc.here, word) {
				continue
			}
			if _, err := adapt(fmt.Appendf(nil, tc.caddyfile, word)); err == nil || !strings.Contains(err.Error(), tc.has) {
				t.Errorf("%s: %v", word, err)
			}
		}
	}
}

// syntaxOf returns the words that begin the lines of the block in a function's comment, those of functions that a line
// says to see included.
func syntaxOf(t *testing.T, function string) (words []string) {
	t.Helper()
	for _, file := range sources(t, "*.go") {
		before, _, ok := strings.Cut(readText(t, file), "\nfunc "+function+"(")
		if !ok {
			continue
		}
		_, syntax, _ := strings.Cut(before[strings.LastIndex(before, "\n\n"):], "Syntax:")
		line := regexp.MustCompile(`(?m)^//\t\t(<see \w+|\w+)`)
		if !strings.Contains(syntax, "{\n") { // options of several blocks
			line = regexp.MustCompile(`(?m)^//\t(\w+)`)
		}
		for _, word := range found(line, syntax) {
			if other, ok := strings.CutPrefix(word, "<see "); ok {
				words = append(words, syntaxOf(t, other)...)
			} else {
				words = append(words, word)
			}
		}
	}
	return words
}

// sources returns the files of a pattern that are no tests.
func sources(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(files, func(file string) bool { return strings.HasSuffix(file, "_test.go") })
}

func found(pattern *regexp.Regexp, text string) (words []string) {
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		words = append(words, m[1])
	}
	return words
}

func readText(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
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
	t.Setenv("CROWDSEC_KEY", "a-key-for-tests")
	t.Setenv("WEBHOOK_SECRET", "whsec_bm90aGluZy1idXQtdGVzdHMtdXNlLWl0")
	t.Setenv("TEST_API_TOKEN", "token-of-tests-0123456789")
	t.Setenv("TEST_API_TOKEN_2", "token-of-tests-abcdefghij")
	t.Setenv("TEST_API_TOKEN_AGAIN", "token-of-tests-0123456789")
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

// TestJSONIsCheckedToo proves that a configuration that does not come from a Caddyfile is refused for the same mistakes.
func TestJSONIsCheckedToo(t *testing.T) {
	provisionInTemp(t)
	for _, tc := range []struct{ app, want string }{
		{`"providers": [{"service": {"service": "abuseipdb"}}]`, "provider abuseipdb: no key is given"},
		{`"feeds": [{"sources": ["tor_exits"]}, {"sources": ["tor_exits"]}]`, `two lists are named "tor_exits"`},
		{`"deny": ["https:///list"]`, "deny: entry 1 is a URL, and not of the form"},
		{`"deny": ["198.51.100.7", {"sources": ["spamhaus_drop"], "formt": "csv"}]`, `unknown field "formt"`},
		{`"deny": [7]`, "a list is a text, or an object"},
		{`"exempt": ["198.51.100.7", {"name": "none"}]`, "exempt: no source is given: name addresses"},
		{`"exempt": [{"sources": ["198.51.100.7"], "refresh": "1h"}]`, "exempt: refresh is for lists that are fetched or read"},
		{`"history": {"database": {"value": "mysql://db"}}`, "history: the DSN"},
		{`"sentry": {"dsn": {"value": "none"}}`, "the DSN of sentry is not valid"},
		{`"privacy": {"mode": "hash", "key": {"value": "short"}}`, "the key has fewer than 16 characters"},
	} {
		wantError(t, validate(t, []byte(`{"apps": {"ip_reputation": {`+tc.app+`}}}`)), tc.want)
	}
}
