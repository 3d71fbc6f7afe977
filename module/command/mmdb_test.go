package command

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/mmdb"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// aFile writes a database with one record.
func aFile(t *testing.T, version int, record map[string]any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	data := testenv.MMDB{
		Type: "Test-Country", Version: version, Built: time.Now().Add(-25 * time.Hour).Unix(),
		Networks: []testenv.Network{{Prefix: "203.0.113.0/24", Record: record}},
	}.Bytes(t)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMMDB(t *testing.T) {
	country := map[string]any{
		"country": map[string]any{"iso_code": "NL", "names": map[string]any{"en": "Netherlands", "de": "Niederlande"}},
		"traits":  map[string]any{"is_anonymous_proxy": true, "autonomous_system_number": uint(64500)}, "spots": []any{1.5, "a\x1b[31m"},
	}
	file := aFile(t, 6, country)
	today := time.Now().Add(-25 * time.Hour).UTC().Format(time.DateOnly)
	for _, tc := range []struct{ name, args, want string }{
		{"a known file", "mmdb " + file + " 203.0.113.9", `
type      Test-Country
made      ` + today + `, 1d1h ago
networks  1
says      country asn proxy
network   203.0.113.0/24

country
  iso_code                  NL
  names
    en                      Netherlands
spots
  0                         1.5
  1                         a�[31m
traits
  autonomous_system_number  64500
  is_anonymous_proxy        true

facts  country NL  from country.iso_code
       asn 64500   from traits.autonomous_system_number
       proxy true  from traits.is_anonymous_proxy`},
		{"an address without a record", "mmdb " + file + " ::ffff:198.51.100.1", `
type      Test-Country
made      ` + today + `, 1d1h ago
networks  1
says      country asn proxy
record    none of 198.51.100.1`},
		{"no IPv6", "mmdb " + aFile(t, 4, map[string]any{"country_code": "NL"}) + " 2001:db8::1", `
type       Test-Country
made       ` + today + `, 1d1h ago
networks   1
says       country
addresses  IPv4 only
record     none of 2001:db8::1`},
	} {
		stdout, stderr, err := (&console{}).run(strings.Fields(tc.args)...)
		if diff := cmp.Diff(strings.TrimSpace(tc.want), strings.TrimSpace(trimLines(stdout))); diff != "" || err != nil || stderr != "" {
			t.Errorf("%s: %v %s (-want +got):\n%s", tc.name, err, stderr, diff)
		}
	}
}

// A file whose fields are not known is shown all the same, so that paths can be written and tried.
func TestMMDBOfUnknownFields(t *testing.T) {
	file := aFile(t, 6, map[string]any{"geo": map[string]any{"code": "NL"}, "usage": "DCH"})
	stdout, _, err := (&console{}).run("mmdb", file, "203.0.113.9")
	if err == nil || !strings.Contains(stdout, "a record has geo.code, usage") || !strings.Contains(stdout, "facts  none") {
		t.Errorf("got %v:\n%s", err, stdout)
	}
	stdout, _, err = (&console{}).run("mmdb", file, "203.0.113.9", "--json", "--path", "country geo.code", "--path", "hosting usage DCH")
	var shown mmdb.Shown
	if err != nil || json.Unmarshal([]byte(stdout), &shown) != nil {
		t.Fatalf("got %v:\n%s", err, stdout)
	}
	want := []mmdb.ShownFact{{Fact: "country", Value: "NL", Field: "geo.code"}, {Fact: "hosting", Value: true, Field: "usage"}}
	if diff := cmp.Diff(want, shown.Facts); diff != "" || shown.Problem != "" || shown.Network.String() != "203.0.113.0/24" {
		t.Errorf("got %+v (-want +got):\n%s", shown, diff)
	}
}

func TestMMDBMistakes(t *testing.T) {
	file := aFile(t, 6, map[string]any{"country_code": "NL"})
	page := filepath.Join(t.TempDir(), "geo.mmdb")
	if err := os.WriteFile(page, []byte("<html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		want string
		args []string
	}{
		{"takes a file and an address", []string{file}},
		{`"here" is no address`, []string{file, "here"}},
		{"no such file", []string{file + ".gz", "192.0.2.1"}},
		{"not a MaxMind DB file", []string{page, "192.0.2.1"}},
		{"not a regular file", []string{t.TempDir(), "192.0.2.1"}},
		{"write a fact and a field", []string{file, "192.0.2.1", "--path", "country"}},
		{`unknown fact "city"`, []string{file, "192.0.2.1", "--path", "city geo.city"}},
	} {
		if stdout, _, err := (&console{}).run(append([]string{"mmdb"}, tc.args...)...); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: got %v, %s; want %s", tc.args, err, stdout, tc.want)
		}
	}
}
