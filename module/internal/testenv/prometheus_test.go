package testenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPrometheus(t *testing.T) {
	t.Parallel()
	start := time.Now()
	s := Prometheus(t, "scrape_configs: []")
	took(t, start)
	series, err := s.Query(`label_replace(vector(2), "name", "a value", "", "")`)
	if err != nil || len(series) != 1 || series[0].Value != "2" || series[0].Labels["name"] != "a value" {
		t.Errorf("%+v, %v", series, err)
	}
	if series, err = s.Query("no_such_metric"); err != nil || len(series) != 0 {
		t.Errorf("a metric that is not there: %+v, %v", series, err)
	}
	for expr, want := range map[string]string{"rate(": "parse error", "1": "scalar"} {
		if _, err = s.Query(expr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", expr, err)
		}
	}
	s.Stop()
	s.Stop() // a second time changes nothing
	if _, err = s.Query("vector(1)"); err == nil {
		t.Error("it answers after its end")
	}
}

func TestPrometheusScrapesAndAlerts(t *testing.T) {
	t.Parallel()
	rules := configFile(t, "rules.yml", "groups: [{name: g, rules: [{alert: Up, expr: up == 1}]}]")
	manager := Alertmanager(t, "")
	s := Prometheus(t, `
global: {scrape_interval: 100ms, evaluation_interval: 100ms}
rule_files: [`+rules+`]
alerting: {alertmanagers: [{static_configs: [{targets: ["`+manager.Addr+`"]}]}]}
scrape_configs: [{job_name: manager, static_configs: [{targets: ["`+manager.Addr+`"]}]}]
`)
	await(t, nil, func() string {
		if series, err := s.Query(`up{job="manager"} == 1`); err != nil || len(series) != 1 {
			return "it has not scraped yet"
		}
		return ""
	})
	await(t, nil, func() string {
		alerts, err := manager.Alerts()
		if err != nil || len(alerts) != 1 || alerts[0]["alertname"] != "Up" {
			return "the alert has not arrived"
		}
		return ""
	})
}

func TestAlertmanagerTakesAConfiguration(t *testing.T) {
	t.Parallel()
	start := time.Now()
	s := Alertmanager(t, "route: {receiver: somebody}\nreceivers: [{name: somebody}]\n")
	took(t, start)
	if routes := Amtool(t, "--alertmanager.url=http://"+s.Addr, "config", "routes"); !strings.Contains(routes, "somebody") {
		t.Errorf("its routes: %s", routes)
	}
	if alerts, err := s.Alerts(); err != nil || len(alerts) != 0 {
		t.Errorf("%v, %v", alerts, err)
	}
}

func TestPromtool(t *testing.T) {
	t.Parallel()
	good := configFile(t, "rules.yml", "groups: [{name: g, rules: [{record: a:b, expr: sum(c)}]}]")
	if said := Promtool(t, "check", "rules", good); !strings.Contains(said, "1 rules found") {
		t.Errorf("it says %q", said)
	}
	bad := configFile(t, "rules.yml", "groups: [{name: g, rules: [{record: a:b, expr: sum(}]}]")
	if said := fatal(t, func(tb testing.TB) { Promtool(tb, "check", "rules", bad) }); !strings.Contains(said, "parse error") {
		t.Errorf("it fails with %q", said)
	}
}

func TestAMonitorThatDoesNotStart(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(tb testing.TB){
		"prometheus":   func(tb testing.TB) { Prometheus(tb, "nonsense: true") },
		"alertmanager": func(tb testing.TB) { Alertmanager(tb, "nonsense: true") },
	} {
		if said := fatal(t, start); !strings.Contains(said, errEnded.Error()) || !strings.Contains(said, "nonsense") {
			t.Errorf("%s fails with %q", name, said)
		}
	}
}

func TestAMonitorWhosePortIsTaken(t *testing.T) {
	t.Parallel()
	for _, m := range []struct {
		monitoring
		config string
	}{
		{prometheusServer, "scrape_configs: []"},
		{alertmanagerServer, "route: {receiver: nobody}\nreceivers: [{name: nobody}]"},
	} {
		taken, calls := listening(t), 0
		file := configFile(t, "config.yml", m.config)
		s := startMonitor(t, m.monitoring, func(addr, _ string) []string {
			if calls++; calls == 1 {
				addr = taken
			}
			args := []string{"--config.file=" + file, "--web.listen-address=" + addr}
			if m.names[0] != "prometheus" {
				args = append(args, "--cluster.listen-address=")
			}
			return args
		})
		if calls != 2 {
			t.Errorf("%s: %d attempts", m.names[0], calls)
		}
		if _, err := s.get("/-/ready", nil); err != nil {
			t.Errorf("%s: %v", m.names[0], err)
		}
	}
}

func TestNoMonitor(t *testing.T) {
	here, places := promtool.path(t), usualPlaces
	usualPlaces = nil
	t.Cleanup(func() { usualPlaces = places })
	t.Setenv("PATH", t.TempDir())
	for _, m := range []monitoring{prometheusServer, promtool, alertmanagerServer, amtool} {
		t.Setenv(m.env, "")
		want := "there is no " + m.names[0] +
			": apt-get install prometheus prometheus-alertmanager, or brew install prometheus alertmanager"
		t.Setenv(requireServices, "")
		if f := tell(t, func(tb testing.TB) { m.path(tb) }); f.skip != want || f.fatal != "" {
			t.Errorf("%+v", f)
		}
		t.Setenv(requireServices, "1")
		if f := tell(t, func(tb testing.TB) { m.path(tb) }); f.fatal != want || f.skip != "" {
			t.Errorf("%+v", f)
		}
		t.Setenv(m.env, filepath.Join(t.TempDir(), "elsewhere"))
		if said := fatal(t, func(tb testing.TB) { m.path(tb) }); !strings.Contains(said, os.Getenv(m.env)) {
			t.Errorf("%q", said)
		}
		t.Setenv(m.env, "")
	}
	t.Setenv(promtool.env, here)
	check(t, "named", promtool.path(t), here)
	t.Setenv(promtool.env, "")
	t.Setenv(promtool.beside, filepath.Join(filepath.Dir(here), "prometheus"))
	check(t, "beside its server", promtool.path(t), here)
}
