package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/caddyfile" // plugged in
)

// caddyfile returns a Caddyfile for the addresses of a configuration, with lines for the global options and for the site.
func (c *config) caddyfile(global, site string) string {
	_, port, _ := strings.Cut(c.siteAddr, ":")
	return fmt.Sprintf(`{
	admin %s
	persist_config off
	log {
		output file %s {
			roll_disabled
		}
	}
	servers {
		trusted_proxies static 127.0.0.0/8
		trusted_proxies_strict
	}
	ip_reputation {
		%s
	}
}

http://:%s {
	bind 127.0.0.1
	ip_reputation {
		mode enforce
		%s
	}
	@shady ip_reputation score 40-84
	respond @shady "shady"
	respond "{http.ip_reputation.status}"
}
`, c.adminAddr, c.logFile, global, port, site)
}

// load adapts a Caddyfile and runs it.
func load(text string) error {
	json, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err
	}
	return caddy.Load(json, true)
}

// TestCaddyfile proves that what operators write in a Caddyfile runs.
func TestCaddyfile(t *testing.T) {
	s := startStandIn(t)
	s.know(badClient, 100, 60)
	s.know(shadyClient, 80, 10)
	c := newConfig(t)
	r := startCaddy(t, c)
	err := load(c.caddyfile(`
		exempt private_ranges `+exemptClient+`
		deny `+deniedClient+`
		feed 198.51.100.0/25 {
			name scanners
			category scanner
		}
		provider abuseipdb {
			key {env.`+keyName+`}
			url `+s.URL+`
			quota 1000/day
		}
		wait 5s
		memory 1000`, `
		block status 451 score 85
		drop category botnet_c2,malware
		block source scanners`))
	if err != nil {
		t.Fatal(err)
	}
	r.awaitStop(t)
	for client, want := range map[string]string{
		cleanClient: "200 fresh", badClient: "451 ", shadyClient: "200 shady", deniedClient: "451 ", exemptClient: "200 exempt",
		scannerClient: "403 ", reservedClient: "200 exempt",
	} {
		if got := r.visit(t, client); fmt.Sprint(got.status, " ", ownBody(got)) != want {
			t.Errorf("%s: status %d, body %q, want %q", client, got.status, got.body, want)
		}
	}
}

// TestBadInput proves that every mistake is an error at load that names the value and the cure, and that the running
// configuration goes on.
func TestBadInput(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	nonsense := filepath.Join(t.TempDir(), "nonsense.txt")
	for name, text := range map[string]string{empty: "\n", nonsense: "203.0.113.1\nnot an address\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	absent := filepath.Join(t.TempDir(), "absent.txt")
	key := "\nkey {env." + keyName + "}\n"

	c := newConfig(t)
	c.app["deny"] = []any{deniedClient}
	r := startCaddy(t, c)
	for _, tc := range []struct {
		name, global, site string
		want               []string
	}{
		{
			"bad CIDR", "exempt 203.0.113.0/33", "",
			[]string{`"203.0.113.0/33" is not a CIDR range`, "up to 32 for IPv4", "Caddyfile:14"},
		},
		{"bad address", "deny 203.0.113.256", "", []string{`deny: "203.0.113.256" is no preset, address`, "Caddyfile:14"}},
		{"unreadable file", "deny " + absent, "", []string{absent, "check the path"}},
		{"file with nonsense", "deny " + nonsense, "", []string{nonsense + `: line 2: "not" is not an address or a CIDR`}},
		{
			"unknown preset", "feed spamhaus_dorp", "",
			[]string{`"spamhaus_dorp" is no preset`, "spamhaus_drop", "Caddyfile:14"},
		},
		{"preset twice", "feed tor_exits\nfeed tor_exits", "", []string{`two lists are named "tor_exits"`, "another name"}},
		{
			"feed without a name", "feed https://lists.example.org/bad.txt", "",
			[]string{"add `name <name>`", "Caddyfile:14"},
		},
		{
			"feed refreshed too often", "feed spamhaus_drop {\nrefresh 1m\n}", "",
			[]string{"spamhaus_drop: refresh 1m0s", "use 1h0m0s or longer", "Caddyfile:"},
		},
		{
			"trust out of range", "feed tor_exits {\ntrust 2\n}", "",
			[]string{`trust "2" is not a number from 0 to 1`, "Caddyfile:15"},
		},
		{
			"unknown provider", "provider abuseipbd {" + key + "}", "",
			[]string{`unknown provider "abuseipbd"`, "abuseipdb", "Caddyfile:14"},
		},
		{"no key", "provider abuseipdb", "", []string{"provider abuseipdb: no key is given", "key {env.NAME}"}},
		{
			"empty variable", "provider abuseipdb {\nkey {env.IP_REPUTATION_TEST_ABSENT}\n}", "",
			[]string{"key {env.IP_REPUTATION_TEST_ABSENT} is empty", "check that"},
		},
		{
			"empty file", "provider abuseipdb {\nkey {file." + empty + "}\n}", "",
			[]string{empty + `} is empty`, "check that"},
		},
		{
			"absent file", "provider abuseipdb {\nkey {file." + absent + "}\n}", "",
			[]string{absent + `} is empty`, "check that"},
		},
		{
			"quota without a window", "provider abuseipdb {" + key + "quota 1000\n}", "",
			[]string{`quota "1000"`, "as in 1000/day", "Caddyfile:16"},
		},
		{
			"unknown window", "provider abuseipdb {" + key + "quota 1000/fortnight\n}", "",
			[]string{`unknown period "fortnight"`, "use one of minute, hour, day", "Caddyfile:16"},
		},
		{
			"timeout out of range", "provider abuseipdb {" + key + "timeout 2m\n}", "",
			[]string{"timeout 2m0s is out of range: use up to 1m"},
		},
		{
			"url of another kind", "provider abuseipdb {" + key + "url ftp://example.org\n}", "",
			[]string{`its scheme is "ftp": use one that begins with https://`},
		},
		{
			"provider twice", "provider abuseipdb {" + key + "}\nprovider abuseipdb {" + key + "}", "",
			[]string{`two sources are named "abuseipdb"`, "another name"},
		},
		{
			"unknown option", "exemption 203.0.113.1", "",
			[]string{`unknown option "exemption"`, "use one of exempt, deny", "Caddyfile:14"},
		},
		{"missing argument", "deny", "", []string{"deny needs a value", "Caddyfile:14"}},
		{"wait out of range", "wait 11s", "", []string{"wait 11s is out of range: use 0 (never wait) to 10s"}},
		{"memory out of range", "memory 1000000000", "", []string{"memory 1000000000 is out of range: use 1 to 100000000"}},
		{"score out of range", "", "block score 850", []string{`score "850"`, "from 0 to 100", "Caddyfile:22"}},
		{"score backwards", "", "block score 84-40", []string{`score "84-40"`, "write 40-84", "Caddyfile:22"}},
		{"unknown source", "", "block source nobody", []string{`unknown source "nobody": use one of deny, ban`}},
		{
			"unknown category", "", "block category scaner",
			[]string{`unknown category "scaner": use one of abuse, scanner`, "Caddyfile:22"},
		},
		{"unknown nature", "", "block nature onion", []string{`unknown nature "onion": use one of tor`, "Caddyfile:22"}},
		{"unknown status", "", "block status bad", []string{`unknown status "bad": use one of fresh`, "Caddyfile:22"}},
		{
			"status that is no error", "", "block status 200 score 85",
			[]string{"status 200 is not an HTTP error: use 400 to 599", "Caddyfile:22"},
		},
		{"unknown condition", "", "block mood bad", []string{`unknown condition "mood": use one of score`, "Caddyfile:22"}},
		{"unknown action", "", "refuse score 85", []string{`unknown option "refuse"`, "block, ban, drop", "Caddyfile:22"}},
		{
			"rule for everybody", "", "drop",
			[]string{"drop without a condition would refuse everybody", "score 97", "Caddyfile:22"},
		},
		{"unknown detail", "", "headers loud", []string{`headers "loud" is not one of full, minimal, off`, "Caddyfile:22"}},
		{
			"file in a site's exempt", "", "exempt " + nonsense,
			[]string{"is not an address, a CIDR range or private_ranges", "Caddyfile:22"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := load(c.caddyfile(tc.global, tc.site))
			if err == nil {
				t.Fatal("it was accepted")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
			wantNone(t, "the error", err.Error(), keyText)
			for client, status := range map[string]int{cleanClient: http.StatusOK, deniedClient: http.StatusForbidden} {
				if got := r.visit(t, client).status; got != status {
					t.Errorf("%s is answered with status %d, want %d", client, got, status)
				}
			}
		})
	}
}
