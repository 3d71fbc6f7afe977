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

// monitoring is a program of the Prometheus family. Each has a variable with the path of the
// program to use. A tool is first searched beside its server.
type monitoring struct {
	names  []string // Debian's name may differ from the original one
	env    string
	beside string // the variable of its server
}

var (
	prometheusServer   = monitoring{[]string{"prometheus"}, "IPREP_TEST_PROMETHEUS", ""}
	promtool           = monitoring{[]string{"promtool"}, "IPREP_TEST_PROMTOOL", "IPREP_TEST_PROMETHEUS"}
	alertmanagerServer = monitoring{
		[]string{"prometheus-alertmanager", "alertmanager"}, "IPREP_TEST_ALERTMANAGER", "",
	}
	amtool = monitoring{[]string{"amtool"}, "IPREP_TEST_AMTOOL", "IPREP_TEST_ALERTMANAGER"}
)

// path returns the path of the program. Without one, the test ends: see missing.
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
	missing(tb, m.names[0],
		"apt-get install prometheus prometheus-alertmanager, or brew install prometheus alertmanager")
	return ""
}

// Promtool runs promtool and returns its trimmed output. An error fails the test.
func Promtool(tb testing.TB, args ...string) string {
	tb.Helper()
	return promtool.run(tb, args)
}

// Amtool is Promtool for amtool.
func Amtool(tb testing.TB, args ...string) string {
	tb.Helper()
	return amtool.run(tb, args)
}

func (m monitoring) run(tb testing.TB, args []string) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // tests of rules simulate days
	defer cancel()
	out, err := exec.CommandContext(ctx, m.path(tb), args...).Output() //nolint:gosec // the arguments come from tests
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

// startMonitor starts a server and returns when it answers. args returns its arguments for an
// address and a folder. If the port is taken, it tries another one.
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
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(pollInterval) {
		printed := s.Log()[before:]
		switch {
		case s.process.ended() && strings.Contains(printed, "address already in use"):
			return errPortTaken
		case s.process.ended():
			return errEnded
		// before that, an answer would come from another server on the same port
		case !strings.Contains(printed, "Listening on"):
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

// Log returns the server's output.
func (s *monitor) Log() string { return readLog(filepath.Join(s.dir, "log")) }

// get sends a request and returns the body of the answer. Its status must be 200.
func (s *monitor) get(path string, query url.Values) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
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

// monitorClient closes its connections: idle ones would look like leaks in tests.
var monitorClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// PrometheusServer is a Prometheus.
type PrometheusServer struct{ *monitor }

// Prometheus starts a Prometheus with the given configuration. Paths in it must be absolute.
func Prometheus(tb testing.TB, config string) *PrometheusServer {
	tb.Helper()
	file := configFile(tb, "prometheus.yml", config)
	return &PrometheusServer{startMonitor(tb, prometheusServer, func(addr, dir string) []string {
		return []string{
			"--config.file=" + file, "--web.listen-address=" + addr,
			"--storage.tsdb.path=" + filepath.Join(dir, "data"),
		}
	})}
}

// Series is one series in an answer of Prometheus, with its newest value.
type Series struct {
	Labels map[string]string // the name of the metric is __name__
	Value  string
}

// Query evaluates an expression whose result is a vector. The error is that of Prometheus.
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

// Alertmanager starts an Alertmanager without peers. With an empty configuration it accepts alerts
// and notifies nobody.
func Alertmanager(tb testing.TB, config string) *AlertmanagerServer {
	tb.Helper()
	if config == "" {
		config = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"
	}
	file := configFile(tb, "alertmanager.yml", config)
	return &AlertmanagerServer{startMonitor(tb, alertmanagerServer, func(addr, dir string) []string {
		return []string{
			"--config.file=" + file, "--web.listen-address=" + addr,
			"--storage.path=" + filepath.Join(dir, "data"),
			"--cluster.listen-address=",
		}
	})}
}

// Alerts returns the labels of the active alerts.
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
