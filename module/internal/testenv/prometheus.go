package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// monitoring is a program of the Prometheus family. Each has a variable that names another one than that on the PATH;
// the tool that belongs to a server is preferred beside that.
type monitoring struct {
	names  []string // what it is called: Debian has other names than its authors
	env    string
	beside string // the variable of its server
}

var (
	prometheusServer   = monitoring{[]string{"prometheus"}, "IPREP_TEST_PROMETHEUS", ""}
	promtool           = monitoring{[]string{"promtool"}, "IPREP_TEST_PROMTOOL", "IPREP_TEST_PROMETHEUS"}
	alertmanagerServer = monitoring{[]string{"prometheus-alertmanager", "alertmanager"}, "IPREP_TEST_ALERTMANAGER", ""}
	amtool             = monitoring{[]string{"amtool"}, "IPREP_TEST_AMTOOL", "IPREP_TEST_ALERTMANAGER"}
)

// path returns where the program is, and ends the test when there is none.
func (m monitoring) path(tb testing.TB) string {
	tb.Helper()
	if path := os.Getenv(m.env); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			tb.Fatalf("%s: %v", m.env, err)
		}
		return path
	}
	var places []string
	if server := os.Getenv(m.beside); server != "" {
		places = append(places, filepath.Dir(server))
	}
	for _, name := range m.names {
		if path, ok := locate(name, places...); ok {
			return path
		}
	}
	missing(tb, m.names[0], "apt-get install prometheus prometheus-alertmanager, or brew install prometheus alertmanager")
	return ""
}

// Promtool runs promtool and returns what it prints, without the space around it. It fails the test when promtool does.
func Promtool(tb testing.TB, args ...string) string {
	tb.Helper()
	return promtool.run(tb, args)
}

// Amtool runs amtool as Promtool does promtool.
func Amtool(tb testing.TB, args ...string) string {
	tb.Helper()
	return amtool.run(tb, args)
}

func (m monitoring) run(tb testing.TB, args []string) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // tests of rules compute days
	defer cancel()
	out, err := exec.CommandContext(ctx, m.path(tb), args...).Output() //nolint:gosec // the tests say what is run
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			out = append(out, exit.Stderr...)
		}
		tb.Fatalf("%s %q: %v\n%s", m.names[0], args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// monitor is a server of the Prometheus family.
type monitor struct {
	Addr string // host:port

	tb      testing.TB
	dir     string
	process *process
}

// startMonitor starts a server with the arguments that args gives for an address and a folder of its own, on another
// port if that is taken, and returns when it answers.
func startMonitor(tb testing.TB, m monitoring, args func(addr, dir string) []string) *monitor {
	tb.Helper()
	s := &monitor{tb: tb, dir: tb.TempDir()}
	tb.Cleanup(s.Stop) // before the folder is removed
	err := errPortTaken
	for i := 0; i < attempts && errors.Is(err, errPortTaken); i++ {
		s.Addr = loopback(freePort(tb))
		err = s.start(m.path(tb), args(s.Addr, s.dir))
	}
	if err != nil {
		tb.Fatalf("%s at %s: %v; its log:\n%s", m.names[0], s.Addr, err, s.Log())
	}
	return s
}

func (s *monitor) start(path string, args []string) (err error) {
	before := len(s.Log())
	if s.process, err = startProcess(s.dir, filepath.Join(s.dir, "log"), path, args...); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(pace) {
		said := s.Log()[before:]
		switch {
		case s.process.ended() && strings.Contains(said, "address already in use"):
			return errPortTaken
		case s.process.ended():
			return errEnded
		case !strings.Contains(said, "Listening on"): // whoever answers before is another, on the same port
			continue
		}
		if _, err := s.get("/-/ready", nil); err == nil {
			return nil
		}
	}
	s.process.kill()
	return errNotReady
}

// Stop kills the server and waits for its end. Stopping again does nothing.
func (s *monitor) Stop() {
	if s.process != nil {
		s.process.kill()
	}
}

// Log returns what the server has printed.
func (s *monitor) Log() string { return readLog(filepath.Join(s.dir, "log")) }

// get asks the server and returns its answer, which must have the status 200.
func (s *monitor) get(path string, query url.Values) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	address := url.URL{Scheme: "http", Host: s.Addr, Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return "", err
	}
	resp, err := monitorClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", path, query.Encode(), resp.Status, text)
	}
	return string(text), err
}

// monitorClient keeps no connection: an idle one would look like a leak to the tests.
var monitorClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// PrometheusServer is a Prometheus.
type PrometheusServer struct{ *monitor }

// Prometheus starts a Prometheus with the given configuration. Files that it names must be absolute.
func Prometheus(tb testing.TB, config string) *PrometheusServer {
	tb.Helper()
	file := configFile(tb, "prometheus.yml", config)
	return &PrometheusServer{startMonitor(tb, prometheusServer, func(addr, dir string) []string {
		return []string{
			"--config.file=" + file, "--web.listen-address=" + addr, "--storage.tsdb.path=" + filepath.Join(dir, "data"),
		}
	})}
}

// Series is one series in an answer of Prometheus, with its newest value.
type Series struct {
	Labels map[string]string // the name of the metric is __name__
	Value  string
}

// Query evaluates an expression that gives a vector. It returns what Prometheus says against the expression.
func (s *PrometheusServer) Query(expr string) ([]Series, error) {
	text, err := s.get("/api/v1/query", url.Values{"query": {expr}})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return nil, err
	}
	if answer.Data.ResultType != "vector" {
		return nil, fmt.Errorf("%s is not a vector but a %s", expr, answer.Data.ResultType)
	}
	var found []struct {
		Metric map[string]string
		Value  [2]any // time, value
	}
	if err := json.Unmarshal(answer.Data.Result, &found); err != nil {
		return nil, err
	}
	series := make([]Series, len(found))
	for i, f := range found {
		series[i] = Series{f.Metric, fmt.Sprint(f.Value[1])}
	}
	return series, nil
}

// AlertmanagerServer is an Alertmanager.
type AlertmanagerServer struct{ *monitor }

// Alertmanager starts an Alertmanager without peers. With an empty configuration it takes alerts and tells nobody.
func Alertmanager(tb testing.TB, config string) *AlertmanagerServer {
	tb.Helper()
	if config == "" {
		config = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"
	}
	file := configFile(tb, "alertmanager.yml", config)
	return &AlertmanagerServer{startMonitor(tb, alertmanagerServer, func(addr, dir string) []string {
		return []string{
			"--config.file=" + file, "--web.listen-address=" + addr, "--storage.path=" + filepath.Join(dir, "data"),
			"--cluster.listen-address=",
		}
	})}
}

// Alerts returns the labels of the alerts that have arrived and are not over.
func (s *AlertmanagerServer) Alerts() ([]map[string]string, error) {
	text, err := s.get("/api/v2/alerts", nil)
	if err != nil {
		return nil, err
	}
	var alerts []struct{ Labels map[string]string }
	if err := json.Unmarshal([]byte(text), &alerts); err != nil {
		return nil, err
	}
	labels := make([]map[string]string, len(alerts))
	for i, a := range alerts {
		labels[i] = a.Labels
	}
	return labels, nil
}

func configFile(tb testing.TB, name, text string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}
