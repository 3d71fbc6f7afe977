package e2e_test

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// TestListedAddressesAreRefused proves for every kind of list that an address on it is answered with 403 and that the
// application never sees it, while another address passes.
func TestListedAddressesAreRefused(t *testing.T) {
	const listed, free = "203.0.113.66", "203.0.113.68"
	file := func(t *testing.T, text string) string {
		t.Helper()
		name := filepath.Join(t.TempDir(), "list.txt")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	feed := func(source string) object {
		return object{"feeds": []any{object{"name": "listed", "sources": []any{source}, "category": []any{"malware"}}}}
	}
	for _, tc := range []struct {
		name    string
		app     func(*testing.T) object
		fetched bool // so that it acts a little later
	}{
		{name: "feed of values", app: func(*testing.T) object { return feed(listed) }},
		{name: "feed of a range", app: func(*testing.T) object { return feed("203.0.113.66/31") }},
		{name: "feed from a file", app: func(t *testing.T) object { return feed(file(t, "# bad\n203.0.113.66 ; seen\n")) }},
		{name: "feed from a URL", fetched: true, app: func(t *testing.T) object {
			return feed(startPublisher(t, "203.0.113.66/32\n").URL + "/bad.txt")
		}},
		{name: "deny of values", app: func(*testing.T) object { return object{"deny": []any{"198.51.100.0/24", listed}} }},
		{name: "deny from a file", app: func(t *testing.T) object { return object{"deny": []any{file(t, listed+"\n")}} }},
		{name: "deny from a URL", fetched: true, app: func(t *testing.T) object {
			return object{"deny": []any{startPublisher(t, listed+"\n").URL}}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := startBackend(t)
			c := newConfig(t)
			c.app = tc.app(t)
			c.handler["rules"] = []any{rule("block", object{"score": "85"}), rule("block", object{"category": []any{"malware"}})}
			c.next = []any{proxyTo(b.Server)}
			r := startCaddy(t, c)
			if tc.fetched {
				eventually(t, "the list is fetched", func() bool { return r.visit(t, listed).status == http.StatusForbidden })
				b.forget()
			}
			if got := r.visit(t, listed); got.status != http.StatusForbidden || ownBody(got) != "" {
				t.Errorf("a listed address is answered with status %d, body %q", got.status, got.body)
			}
			b.none(t)
			if got := r.visit(t, free); got.status != http.StatusAccepted {
				t.Errorf("another address is answered with status %d", got.status)
			}
			b.only(t)
		})
	}
}

// TestFilesActWhenTheyChange proves that an edited list acts without a reload.
func TestFilesActWhenTheyChange(t *testing.T) {
	const listed = "203.0.113.66"
	name := filepath.Join(t.TempDir(), "deny.txt")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	write("198.51.100.1\n")
	c := newConfig(t)
	c.app["deny"] = []any{name}
	r := startCaddy(t, c)
	if got := r.visit(t, listed).status; got != http.StatusOK {
		t.Fatalf("before: status %d", got)
	}
	write("198.51.100.1\n" + listed + "\n")
	eventually(t, "the file acts", func() bool { return r.visit(t, listed).status == http.StatusForbidden })
	write("198.51.100.1\n")
	eventually(t, "the file acts again", func() bool { return r.visit(t, listed).status == http.StatusOK })
}

// The clients of TestWhatTheApplicationIsTold.
const (
	cleanClient    = "192.0.2.1"
	badClient      = "203.0.113.10"
	shadyClient    = "203.0.113.11"
	scannerClient  = "198.51.100.1"
	torClient      = "198.51.100.130"
	deniedClient   = "203.0.113.99"
	exemptClient   = "192.0.2.200"
	siteExempt     = "192.0.2.201"
	reservedClient = "10.1.2.3"
)

// tellingConfig has a source of every kind.
func tellingConfig(t *testing.T, b *backend) *config {
	t.Helper()
	s := startStandIn(t)
	s.know(badClient, 100, 60)
	s.know(shadyClient, 80, 10)
	c := newConfig(t)
	c.ask(s)
	maps.Copy(c.app, object{
		"exempt": []any{exemptClient},
		"deny":   []any{deniedClient},
		"feeds": []any{
			object{"name": "scanners", "sources": []any{"198.51.100.0/25"}, "category": []any{"scanner", "bruteforce"}},
			object{"name": "exits", "sources": []any{"198.51.100.128/25"}, "nature": []any{"tor"}},
		},
	})
	c.handler["exempt"] = []any{siteExempt}
	c.handler["mode"] = "observe" // so that the application is told of all
	c.next = []any{proxyTo(b.Server)}
	return c
}

// TestWhatTheApplicationIsTold proves the exact header values, by kind of client and level of detail.
func TestWhatTheApplicationIsTold(t *testing.T) {
	type told = map[string]string
	b := startBackend(t)
	c := tellingConfig(t, b)
	r := startCaddy(t, c)

	for _, tc := range []struct {
		name, client string
		full         told
	}{
		// −20 − 4 × 0.5: the odds are 1 : 158
		{"clean", cleanClient, told{
			"Score": "1", "Status": "fresh", "Action": "pass;mode=observe", "Coverage": "1.00",
			"Reasons": "abuseipdb;points=-2.0", "Country": "NL", "Nature": "hosting",
		}},
		// −20 + 32 × 0.9
		{"bad", badClient, told{
			"Score": "88", "Status": "fresh", "Action": "block;mode=observe", "Coverage": "1.00",
			"Reasons": "abuseipdb;points=28.8", "Country": "NL", "Nature": "hosting", "Categories": "abuse",
		}},
		// −20 + 32 × 0.8 × 0.75: 100 / (1 + 10^0.08)
		{"shady", shadyClient, told{
			"Score": "45", "Status": "fresh", "Action": "pass;mode=observe", "Coverage": "1.00",
			"Reasons": "abuseipdb;points=19.2", "Country": "NL", "Nature": "hosting", "Categories": "abuse",
		}},
		// −20 + 20 × 0.6 − 2
		{"on a list", scannerClient, told{
			"Score": "9", "Status": "fresh", "Action": "pass;mode=observe", "Coverage": "1.00",
			"Reasons": "scanners;points=12.0, abuseipdb;points=-2.0", "Country": "NL", "Nature": "hosting",
			"Categories": "scanner, bruteforce",
		}},
		{"Tor exit", torClient, told{
			"Score": "2", "Status": "fresh", "Action": "pass;mode=observe", "Coverage": "1.00",
			"Reasons": "exits;points=4.8, abuseipdb;points=-2.0", "Country": "NL", "Nature": "tor, hosting", "Categories": "tor",
		}},
		{"denied", deniedClient, told{
			"Score": "100", "Status": "fresh", "Action": "block;mode=observe", "Coverage": "1.00", "Reasons": "deny;points=60.0",
		}},
		{"exempt", exemptClient, told{"Status": "exempt", "Action": "pass;mode=observe", "Coverage": "0.00"}},
		{"exempt from this site", siteExempt, told{"Status": "exempt", "Action": "pass;mode=observe", "Coverage": "0.00"}},
		{"reserved", reservedClient, told{"Status": "exempt", "Action": "pass;mode=observe", "Coverage": "0.00"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := r.visit(t, tc.client); got.status != http.StatusAccepted {
				t.Errorf("status %d in observe mode", got.status)
			}
			wantTold(t, b.only(t), tc.full)
		})
	}

	for detail, names := range map[string][]string{"minimal": {"Score", "Status", "Action"}, "off": nil} {
		t.Run(detail, func(t *testing.T) {
			c.handler["headers"] = detail
			r.reload(t)
			r.visit(t, shadyClient)
			all := told{"Score": "45", "Status": "fresh", "Action": "pass;mode=observe"}
			want := told{}
			for _, name := range names {
				want[name] = all[name]
			}
			got := b.only(t)
			wantTold(t, got, want)
			if got.header.Get("X-Request-Id") == "" {
				t.Error("the application was told no request ID")
			}
		})
	}
}

// TestWithoutAnySource proves that a site without list and provider says that it knows nothing, and does not call it clean.
func TestWithoutAnySource(t *testing.T) {
	for _, tc := range []struct {
		unknown string
		status  int
		action  string
	}{{"", http.StatusAccepted, "pass"}, {"pass", http.StatusAccepted, "pass"}, {"block", http.StatusForbidden, ""}} {
		t.Run("unknown "+tc.unknown, func(t *testing.T) {
			b := startBackend(t)
			c := newConfig(t)
			c.app = nil
			c.handler["unknown"] = tc.unknown
			c.next = []any{proxyTo(b.Server)}
			r := startCaddy(t, c)
			if got := r.visit(t, cleanClient).status; got != tc.status {
				t.Errorf("status %d, want %d", got, tc.status)
			}
			if tc.action == "" {
				b.none(t)
				return
			}
			wantTold(t, b.only(t), map[string]string{"Status": "unknown", "Action": tc.action, "Coverage": "0.00"})
		})
	}
}

// TestPlaceholders proves that what is known of a client can be used in answers and error pages.
func TestPlaceholders(t *testing.T) {
	const p = "{http.ip_reputation."
	text := p + "score}|" + p + "status}|" + p + "action}|" + p + "mode}|" + p + "rule}|" + p + "categories}|" + p + "reasons}|" +
		p + "coverage}|" + p + "country}|" + p + "asn}|" + p + "nature}|" + p + "request_id}"
	c := tellingConfig(t, startBackend(t))
	c.handler["mode"] = "enforce"
	c.handler["rules"] = []any{rule("pass", object{"country": []any{"SE"}}), rule("block", object{"score": "85"})}
	c.next = []any{object{"handler": "static_response", "body": "page|" + text}}
	c.server = object{"errors": object{"routes": []any{object{"handle": []any{object{
		"handler": "static_response", "status_code": "{http.error.status_code}",
		"body": "error|" + text + "|{http.error.message}|{http.error.status_code}",
	}}}}}}
	r := startCaddy(t, c)
	for _, tc := range []struct {
		client string
		status int
		body   string
	}{
		{shadyClient, 200, "page|45|fresh|pass|enforce|0|abuse|abuseipdb;points=19.2|1.00|NL||hosting|id-1"},
		{exemptClient, 200, "page||exempt|pass|enforce|0|||0.00||||id-1"},
		{badClient, 403, "error|88|fresh|block|enforce|2|abuse|abuseipdb;points=28.8|1.00|NL||hosting|id-1" +
			"|blocked by IP reputation, request id-1|403"},
	} {
		got := send(t, http.MethodGet, r.site+"/", "", http.Header{"X-Forwarded-For": {tc.client}, "X-Request-Id": {"id-1"}})
		if body := age.ReplaceAllString(got.body, ""); got.status != tc.status || body != tc.body {
			t.Errorf("%s: status %d, body\n%s\nwant status %d, body\n%s", tc.client, got.status, body, tc.status, tc.body)
		}
		if id := got.header.Get("X-Request-Id"); id != "id-1" {
			t.Errorf("%s: the answer has the request ID %q", tc.client, id)
		}
	}
}
