package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// alertingRule is a rule as Prometheus shows it.
type alertingRule struct {
	Name, Type, Query, Health, LastError string
	Labels, Annotations                  map[string]string
}

func rulesOf(tb testing.TB, p *testenv.PrometheusServer) (rules []alertingRule) {
	tb.Helper()
	answer := into[struct {
		Data struct {
			Groups []struct{ Rules []alertingRule }
		}
	}](tb, send(tb, http.MethodGet, "http://"+p.Addr+"/api/v1/rules", "", nil))
	for _, group := range answer.Data.Groups {
		rules = append(rules, group.Rules...)
	}
	return rules
}

// check looks whether a rule's alerts tell whom they are for, what is wrong with whom, and what to do.
func (r alertingRule) check(tb testing.TB) {
	tb.Helper()
	if severity := r.Labels["severity"]; severity != "critical" && severity != "warning" {
		tb.Errorf("%s: the severity is %q", r.Name, severity)
	}
	for _, name := range []string{"summary", "description", "runbook"} {
		if r.Annotations[name] == "" {
			tb.Errorf("%s has no %s", r.Name, name)
		}
	}
	for _, label := range []string{"instance", "provider", "feed"} {
		has := strings.Contains(r.Query, label+") (") || strings.HasPrefix(r.Query, "caddy_ip_reputation_"+label+"_") ||
			label == "instance" && !strings.HasPrefix(r.Query, "absent(")
		for _, name := range []string{"summary", "description"} {
			if has && !strings.Contains(r.Annotations[name], "{{ $labels."+label+" }}") {
				tb.Errorf("the %s of %s does not say which %s", name, r.Name, label)
			}
		}
	}
}

// onCall are the people whom Alertmanager tells, by the path that stands for them.
type onCall struct {
	*httptest.Server

	mu   sync.Mutex
	told []notification
}

type notification struct {
	path   string
	Alerts []struct{ Labels, Annotations map[string]string }
}

func startOnCall(tb testing.TB) *onCall {
	tb.Helper()
	o := &onCall{}
	o.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n := notification{path: r.URL.Path}
		text, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(text, &n); err != nil {
			tb.Errorf("%v: %s", err, text)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.told = append(o.told, n)
	}))
	tb.Cleanup(o.Close)
	return o
}

// toldOf returns the path and the summary of each notification of an alert.
func (o *onCall) toldOf(alert string) (told [][2]string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range o.told {
		for _, a := range n.Alerts {
			if a.Labels["alertname"] == alert {
				told = append(told, [2]string{n.path, a.Annotations["summary"]})
			}
		}
	}
	return told
}

// monitored is a site with everything that has metrics, and some traffic behind it.
func monitored(t *testing.T, redis *testenv.RedisServer) *running {
	t.Helper()
	c, _, s := guarded(t, badClient)
	s.know(shadyClient, 50, 10)
	c.share(redis.Addr, nil)
	c.remember(t, testenv.PostgreSQL(t).DSN, nil)
	provider := c.app["providers"].([]any)[0].(object)
	provider["quota"] = []any{"1000/day", "5000/week", "20000/month"}
	provider["keys"].([]any)[0].(object)["expires"] = "2099-12-31"
	database := filepath.Join(c.dataDir, "geo.mmdb")
	writeDatabase(t, database, "NL")
	c.app["mmdb"] = []any{object{"file": database}}
	c.handler["violations_default"] = true
	provider["report"] = true
	c.server = object{"metrics": object{}}
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(application.Close)
	c.next = []any{proxyTo(application)}
	r := startCaddy(t, c)
	r.awaitRedis(t, 1)
	r.awaitHistory(t, 1)
	for i := range 20 {
		r.visit(t, fmt.Sprintf("203.0.113.%d", i%5+1))
	}
	if got := r.visit(t, badClient).status; got != http.StatusForbidden {
		t.Fatalf("status %d for a client that is listed", got)
	}
	header := http.Header{"X-Forwarded-For": {shadyClient}}
	if got := send(t, http.MethodGet, r.site+"/broken", "", header).status; got != http.StatusServiceUnavailable {
		t.Fatalf("status %d from a broken page", got)
	}
	return r
}

// watch starts Prometheus and Alertmanager with what is deployed, only faster: alerts do not wait.
func watch(t *testing.T, r *running) (*testenv.PrometheusServer, *testenv.AlertmanagerServer, *onCall) {
	t.Helper()
	people := startOnCall(t)
	manager := testenv.Alertmanager(t, deployedFor(t, "prometheus/alertmanager.yml",
		"http://localhost:9095", people.URL, "group_wait: 30s", "group_wait: 200ms"))
	rules := filepath.Join(t.TempDir(), "rules.yml")
	atOnce := regexp.MustCompile(`(?m)^( *)for: \w+$`).ReplaceAllString(deployedFile(t, "prometheus/rules.yml"), "${1}for: 0s")
	if err := os.WriteFile(rules, []byte(atOnce), 0o600); err != nil {
		t.Fatal(err)
	}
	server := testenv.Prometheus(t, deployedFor(t, "prometheus/prometheus.yml",
		"scrape_interval: 15s", "scrape_interval: 200ms", "evaluation_interval: 15s", "evaluation_interval: 200ms",
		"- rules.yml", "- "+rules, "localhost:9093", manager.Addr, "targets: [localhost:2019]", "targets: ["+r.adminAddr+"]"))
	return server, manager, people
}

func TestDeployedMonitoringWatchesCaddy(t *testing.T) {
	redis := testenv.Redis(t)
	r := monitored(t, redis)
	server, manager, people := watch(t, r)
	query := func(expr string) []testenv.Series {
		t.Helper()
		series, err := server.Query(expr)
		if err != nil {
			t.Fatal(err)
		}
		return series
	}
	eventually(t, "Caddy is scraped", func() bool { return len(query(`up{job="caddy"} == 1`)) == 1 })

	asked := map[string]string{} // by whom
	rules := rulesOf(t, server)
	for _, rule := range rules {
		if rule.Type == "alerting" {
			rule.check(t)
		}
		for _, s := range selectors(rule.Query) {
			asked[s] = rule.Name
		}
	}
	exprs := readDashboard(t).queries()
	for _, expr := range exprs {
		query(expr) // it is an error if it is none
		for _, s := range selectors(expr) {
			asked[s] = "the dashboard"
		}
	}
	for s, by := range asked {
		eventually(t, by+" finds "+s, func() bool { return len(query(s)) > 0 })
	}
	t.Logf("%d rules and %d expressions of the dashboard find all of the %d kinds of series they ask for",
		len(rules), len(exprs), len(asked))

	redis.Stop()
	const away = "IPReputationRedisAway"
	eventually(t, "Alertmanager knows that Redis is away", func() bool {
		alerts, err := manager.Alerts()
		return err == nil && slices.ContainsFunc(alerts, func(labels map[string]string) bool {
			return labels["alertname"] == away && labels["instance"] == r.adminAddr
		})
	})
	eventually(t, "somebody is told", func() bool { return len(people.toldOf(away)) > 0 })
	for _, rule := range rulesOf(t, server) {
		if rule.Health != "ok" {
			t.Errorf("%s: %s: %s", rule.Name, rule.Health, rule.LastError)
		}
	}
	if got, want := people.toldOf(away)[0], [2]string{"/mail", r.adminAddr + ": Redis is away"}; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}
