package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"go.yaml.in/yaml/v3"

	// plugged in
	_ "github.com/caddy-ip-reputation/caddy-ip-reputation/caddyfile"
)

// visitors are the addresses that the tests of privacy look for.
var visitors = []string{deniedClient, badClient, cleanClient, "203.0.113.50", "2001:db8:bad::7", "2001:db8:bad:0:", "198.51.100.77"}

// makeTrouble lets much be logged about visitors: some that are blocked, a provider that repeats addresses in its errors,
// and what an operator does.
func makeTrouble(tb testing.TB, r *running) {
	tb.Helper()
	for _, client := range []string{deniedClient, badClient, cleanClient, "2001:db8:bad::7", deniedClient} {
		r.visit(tb, client)
	}
	send(tb, http.MethodGet, r.site+"/of/"+badClient+"?ip="+badClient, "", http.Header{"X-Forwarded-For": {deniedClient}})
	r.ask(tb, http.MethodPost, "bans", `{"prefix": "203.0.113.50/32", "reason": "seen as 203.0.113.50 and 198.51.100.77"}`)
	r.ask(tb, http.MethodPost, "bans", `{"prefix": "2001:db8:bad::7/128", "ttl": "1h"}`)
	r.ask(tb, http.MethodGet, "check/"+badClient, "")
	r.ask(tb, http.MethodDelete, "bans/203.0.113.50", "")
	r.ask(tb, http.MethodDelete, "bans/198.51.100.77", "") // there is none
	r.ask(tb, http.MethodDelete, "records/"+badClient, "")
}

// line is an entry of a log.
type line map[string]any

func readLines(tb testing.TB, text string) (lines []line) {
	tb.Helper()
	for one := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		var l line
		if err := json.Unmarshal([]byte(one), &l); err != nil {
			tb.Fatalf("%v in the line %q", err, one)
		}
		lines = append(lines, l)
	}
	return lines
}

// field returns what stands under a path such as request.client_ip, or nil.
func (l line) field(path string) any {
	var at any = map[string]any(l)
	for name := range strings.SplitSeq(path, ".") {
		members, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = members[name]
	}
	return at
}

// TestPrivacy proves that no line of ours holds a visitor's address when it must not, whatever it is about, and that the
// lines still say what happened.
func TestPrivacy(t *testing.T) {
	for _, tc := range []struct {
		name    string
		setting object
		client  *regexp.Regexp
		prefix  *regexp.Regexp
	}{
		{"truncate", object{"mode": "truncate"}, regexp.MustCompile(`^203\.0\.113\.0/24$`), regexp.MustCompile(`^203\.0\.113\.0/24$`)},
		{"hash", object{"mode": "hash", "key": object{"value": "{env." + keyName + "}"}},
			regexp.MustCompile(`^ip-[0-9a-f]{16}$`), regexp.MustCompile(`^ip-[0-9a-f]{16}$`)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := startStandIn(t)
			s.know(badClient, 100, 60)
			c := newConfig(t)
			c.ask(s)
			c.app["deny"], c.app["privacy"] = []any{deniedClient, "2001:db8:bad::/48"}, tc.setting
			c.handler["log"] = object{"decisions": "all"}
			p := startProcess(t, c)
			makeTrouble(t, p.running)
			s.behave(func(w http.ResponseWriter, r *http.Request) { // which is repeated in the log
				fail(w, http.StatusUnprocessableEntity, "there is nothing to say of "+r.URL.Query().Get("ipAddress"))
			})
			p.visit(t, "198.51.100.77")
			eventually(t, "the provider's failure is logged", func() bool { return strings.Contains(p.logs(t), "the service gave no answer") })
			p.end(os.Interrupt)

			seen := map[string]int{}
			var client, prefix any
			for _, l := range readLines(t, p.logs(t)) {
				logger, _ := l["logger"].(string)
				if !strings.Contains(logger, "ip_reputation") {
					continue // Caddy's own
				}
				msg, _ := l["msg"].(string)
				seen[msg]++
				text, err := json.Marshal(l)
				if err != nil {
					t.Fatal(err)
				}
				wantNone(t, "the entry "+string(text), string(text), visitors...)
				wantNone(t, "the entry "+string(text), string(text), keyText)
				if msg == "decision" && l.field("ip_reputation.action") == "block" && client == nil {
					client = l.field("request.client_ip")
				}
				if msg == "added by an operator" && prefix == nil {
					prefix = l["prefix"]
				}
			}
			for msg, least := range map[string]int{
				"decision": 7, "added by an operator": 2, "removed by an operator": 1, "the service gave no answer": 1,
			} {
				if seen[msg] < least {
					t.Errorf("%d entries say %q, want %d: %v", seen[msg], msg, least, seen)
				}
			}
			if text, _ := client.(string); !tc.client.MatchString(text) {
				t.Errorf("the first client is %v", client)
			}
			if text, _ := prefix.(string); !tc.prefix.MatchString(text) {
				t.Errorf("what was banned is %v", prefix)
			}
		})
	}
}

// TestPrivacyOfWhatIsShared proves that what configurations share follows the one that serves, also over a reload that
// failed.
func TestPrivacyOfWhatIsShared(t *testing.T) {
	p := newPublisher(t)
	c := newConfig(t)
	c.app["privacy"] = object{"mode": "truncate"}
	c.app["feeds"] = []any{object{"name": "published", "sources": []any{p}, "category": []any{"malware"}}}
	r := startCaddy(t, c)
	delete(c.app, "privacy")
	c.handler["mode"] = "wrong"
	if err := r.tryReload(t); err == nil {
		t.Fatal("a wrong mode was accepted")
	}
	c.handler["mode"] = "enforce"
	r.ask(t, http.MethodPost, "feeds/published/refresh", "")
	eventually(t, "the list is refused", func() bool { return strings.Contains(r.logs(t), "a list cannot be refreshed") })
	for _, l := range readLines(t, r.logs(t)) {
		if l["msg"] == "a list cannot be refreshed, and there is no earlier one" {
			text := fmt.Sprint(l["error"])
			wantNone(t, "the error", text, "198.51.100.77")
			if !strings.Contains(text, "198.51.100.0/24") {
				t.Errorf("the error names no address any more: %s", text)
			}
		}
	}
}

// newPublisher returns the URL of a list that redirects to an address which is not to be seen.
func newPublisher(tb testing.TB) string {
	tb.Helper()
	p := startPublisher(tb, "")
	p.Config.Handler = http.RedirectHandler("ftp://198.51.100.77/list", http.StatusFound)
	return p.URL
}

// startDocumented runs docs/logs/Caddyfile, with addresses and files of the test and a look-up API, until the test ends.
func startDocumented(tb testing.TB) *process {
	tb.Helper()
	tb.Setenv("TEST_API_READ", apiTokens["read"])
	c := newConfig(tb)
	text, err := os.ReadFile(docs + "logs/Caddyfile")
	if err != nil {
		tb.Fatal(err)
	}
	here := fmt.Sprintf("{\n\tadmin %s\n\tpersist_config off\n\tstorage file_system %s\n\tservers {\n"+
		"\t\ttrusted_proxies static 127.0.0.0/8\n\t\ttrusted_proxies_strict\n\t}\n",
		c.adminAddr, filepath.Join(c.dataDir, "storage"))
	adapted := string(text)
	for _, change := range [][2]string{
		{"\n{\n", "\n" + here}, {"/var/log/caddy-ip-reputation/caddy.log", c.logFile}, {"app.example.com {", "http://" + c.siteAddr + " {"},
		{"\n\trespond ", "\n\thandle_path /reputation/* {\n\t\tip_reputation_api {\n\t\t\ttoken {env.TEST_API_READ} read\n\t\t}\n\t}\n\trespond "},
	} {
		if strings.Count(adapted, change[0]) != 1 {
			tb.Fatalf("%q is not there once", change[0])
		}
		adapted = strings.Replace(adapted, change[0], change[1], 1)
	}
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(adapted), map[string]any{"filename": "Caddyfile"})
	if err != nil || len(warnings) > 0 {
		tb.Fatalf("adapting: %v %v", err, warnings)
	}
	return startProcessOf(tb, c, config)
}

// askAPI asks the look-up API about visitors, in every way in which a URL can name one: answered, refused, and blocked.
func askAPI(tb testing.TB, r *running) {
	tb.Helper()
	for _, ask := range []struct {
		path, token, client string
		want                int
	}{
		{badClient, "read", "198.51.100.200", http.StatusOK},
		{"2001:db8:bad::7?ask=false", "read", "198.51.100.200", http.StatusOK},
		{"2001%3Adb8%3Abad%3A%3A7", "read", "198.51.100.200", http.StatusOK},
		{badClient + "/history?from=7d", "read", "198.51.100.200", http.StatusForbidden},
		{cleanClient, "nobody's", "198.51.100.200", http.StatusUnauthorized},
		{cleanClient, "read", deniedClient, http.StatusForbidden},
	} {
		header := http.Header{"X-Forwarded-For": {ask.client}}
		if got := r.look(tb, ask.token, http.MethodGet, "/reputation/v1/ip/"+ask.path, "", header); got.status != ask.want {
			tb.Errorf("asking about %s as %s with %s: %d, want %d: %s", ask.path, ask.client, ask.token, got.status, ask.want, got.body)
		}
	}
}

// TestDocumentedLog proves of docs/logs/Caddyfile that nothing in the whole log, access log, look-up API and admin API
// included, holds a visitor's address; and of what docs/logs has for collectors, that the fields which it names are there, and that times can
// be read as it says.
func TestDocumentedLog(t *testing.T) {
	p := startDocumented(t)
	makeTrouble(t, p.running)
	askAPI(t, p.running)
	p.end(os.Interrupt)
	text := p.logs(t)
	if asked := strings.Count(text, `"uri":"/reputation/v1/ip/-`); asked < 6 { // one of them in the decision log, too
		t.Errorf("%d lines are about a question to the API", asked)
	}
	path := []string{"/of/" + badClient} // what a visitor asks for is not filtered
	wantNone(t, "the log", strings.ReplaceAll(strings.ReplaceAll(text, path[0]+"?ip="+badClient, ""), path[0], ""), visitors...)

	lines := readLines(t, text)
	access, decisions := line{}, line{}
	for _, l := range lines {
		logger, _ := l["logger"].(string)
		switch {
		case strings.HasPrefix(logger, "http.log.access") && l["status"] == 403.0:
			access = l
		case l["msg"] == "decision":
			decisions = l
		}
	}
	for name, l := range map[string]line{"access log": access, "decision log": decisions} {
		for _, field := range []string{
			"request_id", "request.client_ip", "request.method", "request.host", "request.uri", "ip_reputation.action",
			"ip_reputation.mode", "ip_reputation.status", "ip_reputation.score", "ip_reputation.reasons",
		} {
			if value := l.field(field); value == nil || value == "" {
				t.Errorf("the %s has no %s: %v", name, field, l)
			}
		}
	}
	if got := access.field("request.client_ip"); got != "203.0.113.0" {
		t.Errorf("the access log has the client %v", got)
	}
	if got := decisions.field("request.client_ip"); got != "203.0.113.0/24" {
		t.Errorf("the decision log has the client %v", got)
	}

	t.Run("CloudWatch", func(t *testing.T) { collectedByCloudWatch(t, text) })
	t.Run("Datadog", func(t *testing.T) { collectedByDatadog(t, access) })
	t.Run("Loki", func(t *testing.T) { collectedByLoki(t, lines, access, decisions) })
}

// collectedByCloudWatch proves that the agent finds the time of each line, and reads it rightly.
func collectedByCloudWatch(t *testing.T, text string) {
	t.Helper()
	var config struct {
		Logs struct {
			Collected struct {
				Files struct {
					List []map[string]any `json:"collect_list"`
				}
			} `json:"logs_collected"`
		}
	}
	if err := json.Unmarshal([]byte(documented(t, "amazon-cloudwatch-agent.json")), &config); err != nil {
		t.Fatal(err)
	}
	collected := config.Logs.Collected.Files.List[0]
	wantDocumentedFile(t, collected["file_path"])
	// what the agent makes of its codes: where it looks for the time, and how it reads it
	codes := map[string][2]string{
		"%Y": {`\d{4}`, "2006"}, "%m": {`\d{2}`, "01"}, "%d": {`\d{2}`, "02"}, "%H": {`\d{2}`, "15"}, "%M": {`\d{2}`, "04"},
		"%S": {`\d{2}`, "05"}, "%f": {`\d{1,9}`, "000"},
	}
	pattern, layout := regexp.QuoteMeta(collected["timestamp_format"].(string)), collected["timestamp_format"].(string)
	for code, is := range codes {
		pattern, layout = strings.ReplaceAll(pattern, code, is[0]), strings.ReplaceAll(layout, code, is[1])
	}
	for one := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		wantRecent(t, layout, regexp.MustCompile(pattern).FindString(one))
	}
}

// collectedByDatadog proves that the pipeline is for what the agent sends, and finds its fields in the access log.
func collectedByDatadog(t *testing.T, access line) {
	t.Helper()
	var config struct {
		Logs []struct{ Type, Path, Service, Source string }
	}
	if err := yaml.Unmarshal([]byte(documented(t, "datadog/conf.d/caddy.d/conf.yaml")), &config); err != nil {
		t.Fatal(err)
	}
	wantDocumentedFile(t, config.Logs[0].Path)
	var pipeline struct {
		Filter     struct{ Query string }
		Processors []struct{ Sources []string }
	}
	if err := json.Unmarshal([]byte(documented(t, "datadog/pipeline.json")), &pipeline); err != nil {
		t.Fatal(err)
	}
	if pipeline.Filter.Query != "source:"+config.Logs[0].Source || len(pipeline.Processors) == 0 {
		t.Errorf("the pipeline is for %q, the source is %q", pipeline.Filter.Query, config.Logs[0].Source)
	}
	for _, processor := range pipeline.Processors {
		if got := access.field(processor.Sources[0]); got == nil {
			t.Errorf("a line of the access log has no %s: %v", processor.Sources[0], access)
		}
	}
}

// collectedByLoki proves that what becomes a label or metadata is in the lines, and that times are read rightly.
func collectedByLoki(t *testing.T, lines []line, access, decisions line) {
	t.Helper()
	config := documented(t, "config.alloy")
	wantDocumentedFile(t, regexp.MustCompile(`__path__ = "([^"]*)"`).FindStringSubmatch(config)[1])
	_, expressions, _ := strings.Cut(config, "expressions = {")
	expressions, _, _ = strings.Cut(expressions, "}")
	extracted := regexp.MustCompile(`(\w+)\s*= "([^"]*)"`).FindAllStringSubmatch(expressions, -1)
	if len(extracted) < 5 {
		t.Fatalf("found %v", extracted)
	}
	names := map[string]bool{}
	for _, m := range extracted {
		names[m[1]] = true
		for _, l := range []line{access, decisions} {
			if l.field(m[2]) == nil {
				t.Errorf("there is no %s in %v", m[2], l)
			}
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^\t+(\w+)\s*= "",$|source = "(\w+)"`).FindAllStringSubmatch(config, -1) {
		if !names[m[1]+m[2]] {
			t.Errorf("%s is used and not extracted", m[1]+m[2])
		}
	}
	layout := regexp.MustCompile(`format = "([^"]*)"`).FindStringSubmatch(config)[1]
	for _, l := range lines {
		wantRecent(t, layout, fmt.Sprint(l["ts"]))
	}
}

func documented(tb testing.TB, name string) string {
	tb.Helper()
	text, err := os.ReadFile(docs + "logs/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// wantDocumentedFile wants the file that the Caddyfile writes.
func wantDocumentedFile(tb testing.TB, path any) {
	tb.Helper()
	if !strings.Contains(documented(tb, "Caddyfile"), fmt.Sprintf("output file %s\n", path)) {
		tb.Errorf("%v is not what Caddy writes", path)
	}
}

// wantRecent wants a time that was read in the right zone, whatever this machine's is.
func wantRecent(tb testing.TB, layout, text string) {
	tb.Helper()
	at, err := time.Parse(layout, text)
	if since := time.Since(at).Abs(); err != nil || since > 20*time.Minute {
		tb.Errorf("the time %q, read as %q: %v, %v ago", text, layout, err, since)
	}
}
