package e2e_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// The tests of what is in deploy/ are here since only packages of this folder can start Prometheus and its kind. What needs
// a Caddy that runs is in e2e_monitoring_test.go.

const deployed = "../../deploy/"

func TestDeployedFilesAreValid(t *testing.T) {
	for _, args := range [][]string{
		{"check", "config", "prometheus.yml"}, {"check", "config", "../compose/prometheus/prometheus.yml"}, {"check", "rules", "rules.yml"},
		{"test", "rules", "rules_test.yml", "rules_day_test.yml", "rules_quiet_test.yml"},
	} {
		for i, arg := range args {
			if strings.HasSuffix(arg, ".yml") {
				args[i] = deployed + "prometheus/" + arg
			}
		}
		testenv.Promtool(t, args...)
	}
	config := deployed + "prometheus/alertmanager.yml"
	testenv.Amtool(t, "check-config", config, deployed+"compose/alertmanager/alertmanager.yml")
	for severity, want := range map[string]string{"critical": "pager", "warning": "mail"} {
		got := testenv.Amtool(t, "config", "routes", "test", "--config.file="+config, "severity="+severity)
		if got != want {
			t.Errorf("what is %s goes to %s, want %s", severity, got, want)
		}
	}
}

// TestEveryAlertIsTried holds that no alert is added without a test in which it fires. That it is alone then, and silent
// elsewhere, is what those tests expect of all alerts.
func TestEveryAlertIsTried(t *testing.T) {
	tests := deployedFile(t, "prometheus/rules_test.yml") + deployedFile(t, "prometheus/rules_day_test.yml")
	alerts := regexp.MustCompile(`(?m)^ *- alert: (\w+)$`).FindAllStringSubmatch(deployedFile(t, "prometheus/rules.yml"), -1)
	if len(alerts) == 0 {
		t.Fatal("there are no alerts")
	}
	for _, alert := range alerts {
		if !strings.Contains(tests, `ALERTS{alertname="`+alert[1]+`", alertstate="firing"`) {
			t.Errorf("%s is not seen firing", alert[1])
		}
	}
}

func deployedFile(tb testing.TB, name string) string {
	tb.Helper()
	text, err := os.ReadFile(deployed + name)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// deployedFor is a deployed file with some of its text, which it must have, replaced.
func deployedFor(tb testing.TB, name string, replaced ...string) string {
	tb.Helper()
	text := deployedFile(tb, name)
	for i := 0; i < len(replaced); i += 2 {
		if !strings.Contains(text, replaced[i]) {
			tb.Fatalf("%s has no %q", name, replaced[i])
		}
		text = strings.ReplaceAll(text, replaced[i], replaced[i+1])
	}
	return text
}

// dashboard is what the tests read of one.
type dashboard struct {
	Templating struct {
		List []struct{ Name, Type, AllValue string }
	}
	Panels []panel
}

type panel struct {
	ID          int
	Type, Title string
	Datasource  datasource
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct {
		Defaults struct{ Unit string }
	}
	Targets []struct {
		RefID      string
		Datasource datasource
		Expr       string
	}
}

type datasource struct{ Type, UID string }

func readDashboard(tb testing.TB) (d dashboard) {
	tb.Helper()
	if err := json.Unmarshal([]byte(deployedFile(tb, "grafana/ip-reputation.json")), &d); err != nil {
		tb.Fatal(err)
	}
	return d
}

func TestDashboard(t *testing.T) {
	d, variable := readDashboard(t), datasource{"prometheus", "${datasource}"}
	variables := map[string]string{}
	for _, v := range d.Templating.List {
		variables[v.Name] = v.Type
		if v.Name == "job" && v.AllValue != "" {
			t.Errorf("All jobs are %q, which has those of other exporters, too: `up` would count them", v.AllValue)
		}
	}
	if variables["datasource"] != "datasource" {
		t.Error("there is no variable for the data source")
	}
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if p.ID == 0 || ids[p.ID] || p.Title == "" || p.Datasource != variable || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d %q: it needs an ID of its own, a title, a unit, the variable as data source, and targets", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q does not fit, or is where %q is", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		refs := map[string]bool{}
		for _, target := range p.Targets {
			if target.Expr == "" || target.RefID == "" || refs[target.RefID] || target.Datasource != variable {
				t.Errorf("%q: %+v", p.Title, target)
			}
			refs[target.RefID] = true
			for _, used := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				if variables[used[1]] == "" && used[1] != "__rate_interval" {
					t.Errorf("%q: no variable is called %s", p.Title, used[1])
				}
			}
		}
	}
}

// queries are the dashboard's expressions, with Grafana's variables filled in.
func (d dashboard) queries() (exprs []string) {
	fill := strings.NewReplacer("$__rate_interval", "1m", "$job", ".+", "$instance", ".+")
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			exprs = append(exprs, fill.Replace(target.Expr))
		}
	}
	return exprs
}

var (
	promComment  = regexp.MustCompile(`#[^\n]*`)
	promGrouping = regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`)
	promRange    = regexp.MustCompile(`\[[^\]]*\]|\boffset\s+\w+`)
	promSelector = regexp.MustCompile(`\b([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})?(\s*\()?`)
)

// selectors returns which series an expression asks for: names with what stands in braces behind them.
func selectors(expr string) (found []string) {
	for _, remove := range []*regexp.Regexp{promComment, promGrouping, promRange} {
		expr = remove.ReplaceAllString(expr, " ")
	}
	for _, m := range promSelector.FindAllStringSubmatch(expr, -1) {
		name, function := m[1], m[3] != ""
		if !function && !slices.Contains([]string{"and", "or", "unless", "bool"}, name) {
			found = append(found, name+m[2])
		}
	}
	return found
}

func TestSelectors(t *testing.T) {
	got := selectors(`histogram_quantile(0.9, sum by (le, a) (rate(x_bucket{a=~"b|c", d!="(e)"}[5m] offset 1h))) > 1e3 # no
		and on (a) time() - m or instance:r:rate1h offset 1d unless count without (b) (n{}) == bool 1`)
	if want := []string{`x_bucket{a=~"b|c", d!="(e)"}`, "m", "instance:r:rate1h", "n{}"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestRunbooks holds that docs/operations.md says of every alert what to do, in the words of the rules.
func TestRunbooks(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	cells := strings.NewReplacer(`\"`, `"`, "|", `\|`, "{{ $labels.feed }}", "<feed>")
	rule := regexp.MustCompile(`(?s)- alert: (\w+).*?runbook: "(.*?)"\n`)
	for _, m := range rule.FindAllStringSubmatch(deployedFile(t, "prometheus/rules.yml"), -1) {
		row := regexp.MustCompile(`(?m)^\| \*\*` + m[1] + `\*\*.*$`).FindString(string(text))
		if want := "| " + cells.Replace(m[2]) + " |"; !strings.HasSuffix(row, want) {
			t.Errorf("of %s docs/operations.md says\n%s\nwhich should end in\n%s", m[1], row, want)
		}
	}
}
