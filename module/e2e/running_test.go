package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"

	// plugged in
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-ip-reputation/caddy-ip-reputation"
)

// object is a JSON object of a configuration.
type object = map[string]any

// config is what the tests let Caddy run: one site behind a trusted proxy, which is the test itself, so that it can play
// any client. Tests change what they are about.
type config struct {
	// app is `apps.ip_reputation`; nil leaves the app out.
	app object

	// handler is the site's ip_reputation handler; nil leaves it out.
	handler object

	// next are the handlers behind it. Default: answer 200.
	next []any

	// server is merged into the settings of the HTTP server; nil takes a setting out.
	server object

	// apps is merged into the other apps.
	apps object

	// logging is merged into the settings of the default log.
	logging object

	dataDir             string
	adminAddr, siteAddr string
	logFile             string
}

// newConfig returns a configuration with free ports and an empty data folder: an enforcing site that blocks from a score
// of 85 on.
func newConfig(tb testing.TB) *config {
	tb.Helper()
	dir, err := os.MkdirTemp(dataRoot, "caddy")
	if err != nil {
		tb.Fatal(err)
	}
	return &config{
		app: object{"wait": "5s"}, // longer than any loopback call, unless a test is about waiting
		handler: object{
			"mode":  "enforce",
			"rules": []any{object{"action": "block", "score": "85"}},
		},
		dataDir:   dir,
		adminAddr: testenv.FreeAddr(tb),
		siteAddr:  testenv.FreeAddr(tb),
		logFile:   filepath.Join(dir, "log"),
	}
}

// ask adds the stand-in as a provider.
func (c *config) ask(s *standIn) {
	c.app["providers"] = []any{object{
		"service": object{"service": "abuseipdb", "url": s.URL},
		"keys":    []any{object{"value": "{env." + keyName + "}"}},
	}}
}

// json returns the configuration as Caddy reads it.
func (c *config) json(tb testing.TB) []byte {
	tb.Helper()
	var handlers []any
	if c.handler != nil {
		h := maps.Clone(c.handler)
		h["handler"] = "ip_reputation"
		handlers = append(handlers, h)
	}
	if c.next == nil {
		handlers = append(handlers, object{"handler": "static_response", "body": "passed"})
	}
	handlers = append(handlers, c.next...)
	server := object{
		"listen":                 []any{c.siteAddr},
		"trusted_proxies":        object{"source": "static", "ranges": []any{"127.0.0.0/8"}},
		"trusted_proxies_strict": 1,
		"automatic_https":        object{"disable": true},
		"routes":                 []any{object{"handle": handlers}},
	}
	maps.Copy(server, c.server)
	maps.DeleteFunc(server, func(_ string, setting any) bool {
		members, isObject := setting.(object)
		return setting == nil || isObject && members == nil
	})
	apps := object{"http": object{"servers": object{"site": server}}}
	if c.app != nil {
		apps["ip_reputation"] = c.app
	}
	maps.Copy(apps, c.apps)
	log := object{"writer": object{"output": "file", "filename": c.logFile, "roll": false}}
	maps.Copy(log, c.logging)
	text, err := json.Marshal(object{
		"admin":   object{"listen": c.adminAddr, "config": object{"persist": false}},
		"logging": object{"logs": object{"default": log}},
		"storage": object{"module": "file_system", "root": filepath.Join(c.dataDir, "storage")},
		"apps":    apps,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// running is a Caddy that runs a configuration.
type running struct {
	*config
	admin, site string // base URLs
}

// startCaddy runs the configuration in this process until the test ends. Its data folder is the configuration's, so that a
// second start with the same configuration finds what the first has left.
func startCaddy(tb testing.TB, c *config) *running {
	tb.Helper()
	tb.Setenv("XDG_DATA_HOME", c.dataDir)
	r := &running{config: c, admin: "http://" + c.adminAddr, site: "http://" + c.siteAddr}
	r.reload(tb)
	tb.Cleanup(func() {
		r.keepsSecrets(tb)
		r.stop(tb)
	})
	return r
}

// startRecipe runs the first Caddyfile below a heading of docs/cookbook.md, in which texts are replaced by others.
func startRecipe(tb testing.TB, heading string, replace ...string) *running {
	tb.Helper()
	page, err := os.ReadFile(docs + "cookbook.md")
	if err != nil {
		tb.Fatal(err)
	}
	_, recipe, _ := strings.Cut(string(page), "## "+heading+"\n")
	_, recipe, _ = strings.Cut(recipe, "```caddyfile\n")
	recipe, _, _ = strings.Cut(recipe, "```")
	return startCaddyfile(tb, newConfig(tb), strings.NewReplacer(replace...).Replace(recipe))
}

// startCaddyfile runs the apps of a Caddyfile in this process until the test ends, with the admin API, the log and the data
// folder of the configuration. Its site is what the Caddyfile says.
func startCaddyfile(tb testing.TB, c *config, text string) *running {
	tb.Helper()
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		tb.Fatal(err)
	}
	var all, ours object
	if err := errors.Join(json.Unmarshal(adapted, &all), json.Unmarshal(c.json(tb), &ours)); err != nil {
		tb.Fatal(err)
	}
	ours["apps"] = all["apps"]
	whole, err := json.Marshal(ours)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Setenv("XDG_DATA_HOME", c.dataDir)
	r := &running{config: c, admin: "http://" + c.adminAddr, site: "http://" + c.siteAddr}
	tb.Cleanup(func() { r.stop(tb) })
	if err := caddy.Load(whole, true); err != nil {
		tb.Fatal(err)
	}
	return r
}

// reload loads the configuration, with what the test has changed in it.
func (r *running) reload(tb testing.TB) {
	tb.Helper()
	if err := r.tryReload(tb); err != nil {
		tb.Fatalf("loading the configuration: %v", err)
	}
}

// tryReload is reload for configurations that may be wrong. Once it returns, no request is answered by the configuration
// before: Caddy lets its server stop in a goroutine, which a busy machine may leave accepting connections for a while.
func (r *running) tryReload(tb testing.TB) error {
	tb.Helper()
	return caddy.Load(r.json(tb), true)
}

// load is tryReload by the admin API, for processes.
func (r *running) load(tb testing.TB) reply {
	tb.Helper()
	return send(tb, http.MethodPost, r.admin+"/load", string(r.json(tb)), http.Header{"Content-Type": {"application/json"}})
}

// awaitStop waits until the server of the configuration before has stopped, which may still accept a connection after a
// reload. It takes its time on a busy machine: it is for tests that the earlier configuration would fail.
func (r *running) awaitStop(tb testing.TB) {
	tb.Helper()
	eventually(tb, "one server listens", func() bool { return listeners(r.siteAddr) <= 1 })
}

// listeners returns how many sockets of this machine listen on the port of an address; 0 where Linux does not tell. The
// table has all sockets, thousands of which may wait for the end of their time.
func listeners(addr string) (n int) {
	_, port, _ := net.SplitHostPort(addr)
	number, _ := strconv.Atoi(port)
	for file, nobody := range map[string]string{"/proc/net/tcp": strings.Repeat("0", 8), "/proc/net/tcp6": strings.Repeat("0", 32)} {
		table, _ := os.ReadFile(file)
		const listening = "0A"
		// the end of the local address, the remote address, the state
		n += bytes.Count(table, fmt.Appendf(nil, ":%04X %s:0000 %s ", number, nobody, listening))
	}
	return n
}

// stop ends everything but the admin API, which Caddy keeps until the process ends. Stopping again does nothing.
func (r *running) stop(tb testing.TB) {
	tb.Helper()
	if err := caddy.Stop(); err != nil {
		tb.Errorf("stopping Caddy: %v", err)
	}
}

// logs returns what was logged so far.
func (r *running) logs(tb testing.TB) string {
	tb.Helper()
	text, err := os.ReadFile(r.logFile)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// reply is an HTTP answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

// visit requests the site's first page as the given client.
func (r *running) visit(tb testing.TB, client string) reply {
	tb.Helper()
	return send(tb, http.MethodGet, r.site+"/", "", http.Header{"X-Forwarded-For": {client}})
}

// ask sends a request to the admin API: a path below /ip_reputation/, and a JSON body unless it is empty.
func (r *running) ask(tb testing.TB, method, path, body string) reply {
	tb.Helper()
	return send(tb, method, r.admin+"/ip_reputation/"+path, body, nil)
}

// send sends a request and reads the answer.
func send(tb testing.TB, method, url, body string, header http.Header) reply {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, url, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err := client.Do(req)
	for again := 0; again < 20 && method == http.MethodGet && brokenByReload(err); again++ {
		time.Sleep(2 * time.Millisecond)
		resp, err = client.Do(req)
	}
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(text)}
}

// brokenByReload reports whether a connection broke before the answer had begun, after which browsers and proxies repeat a
// GET. A reload of Caddy breaks some by itself, with our handler and without, about one a reload under traffic: it closes one
// of several listeners on the port, and the kernel resets those that wait in its queue. If the client notices while it still
// writes, it closes the connection, and its own read fails.
func brokenByReload(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) ||
		errors.Is(err, net.ErrClosed)
}

// client opens a connection for every request: a kept one would belong to a server that a reload has replaced.
var client = &http.Client{
	Timeout:       30 * time.Second,
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// into reads the answer's JSON.
func into[T any](tb testing.TB, r reply) (v T) {
	tb.Helper()
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		tb.Fatalf("status %d, not the JSON that was expected: %v\n%s", r.status, err, r.body)
	}
	return v
}

// eventually waits until what is expected is so, and fails the test if that takes too long.
func eventually(tb testing.TB, what string, so func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("in vain: %s", what)
		}
	}
}

// caddyCommand returns the command line as a process of its own, with the configuration's data folder.
func (c *config) caddyCommand(tb testing.TB, args ...string) *exec.Cmd {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCaddy+"=1", "XDG_DATA_HOME="+c.dataDir)
	return cmd
}

// process is a Caddy in a process of its own.
type process struct {
	*running
	cmd    *exec.Cmd
	output bytes.Buffer
}

// startProcess runs the configuration in a process of its own until the test ends, or kill.
func startProcess(tb testing.TB, c *config) *process {
	tb.Helper()
	return startProcessOf(tb, c, c.json(tb))
}

// startProcessOf is startProcess with another text, which must have the configuration's addresses in it.
func startProcessOf(tb testing.TB, c *config, text []byte) *process {
	tb.Helper()
	file := filepath.Join(c.dataDir, "caddy.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		tb.Fatal(err)
	}
	p := &process{running: &running{config: c, admin: "http://" + c.adminAddr, site: "http://" + c.siteAddr}}
	p.cmd = c.caddyCommand(tb, "run", "--config", file)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		p.keepsSecrets(tb)
		p.end(os.Kill)
		if tb.Failed() {
			tb.Logf("what the process wrote:\n%s", p.output.String())
		}
	})
	eventually(tb, "caddy serves", func() bool {
		conn, err := net.Dial("tcp", c.siteAddr)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return !strings.Contains(string(text), `"ip_reputation"`) || p.hasStarted()
	})
	return p
}

// hasStarted reports whether the app serves. Caddy starts its apps in any order, so that sites may answer before.
func (p *process) hasStarted() bool {
	resp, err := client.Get(p.admin + "/ip_reputation/status")
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode != http.StatusServiceUnavailable
}

// end sends a signal and waits until the process is gone. Ending again does nothing.
func (p *process) end(signal os.Signal) {
	_ = p.cmd.Process.Signal(signal)
	_ = p.cmd.Wait()
}

// standIn answers in the place of AbuseIPDB, in its format.
type standIn struct {
	*httptest.Server

	mu        sync.Mutex
	reports   map[string]report
	calls     map[string]int
	behaviour http.HandlerFunc
	closing   chan struct{}
}

// report is what the stand-in knows of an address.
type report struct{ confidence, reporters int }

// startStandIn starts a stand-in that knows nothing bad of anybody.
func startStandIn(tb testing.TB) *standIn {
	tb.Helper()
	s := &standIn{reports: map[string]report{}, calls: map[string]int{}, closing: make(chan struct{})}
	s.Server = httptest.NewServer(s)
	tb.Cleanup(func() {
		close(s.closing)
		s.Close()
	})
	return s
}

// know sets what the stand-in says of an address: the confidence of abuse in percent, and by how many reporters.
func (s *standIn) know(addr string, confidence, reporters int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports[addr] = report{confidence, reporters}
}

// behave lets the stand-in answer otherwise: hang, garbage, throttle and refuse are ready-made. Nil is the normal way.
func (s *standIn) behave(f http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behaviour = f
}

// hang does not answer until the caller has given up.
func (s *standIn) hang(_ http.ResponseWriter, r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-s.closing:
	}
}

// garbage answers with what no service says.
func garbage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"data":{"abuseConfidenceScore":"\u0000<script>`)
}

// throttle says that the quota is used up for an hour.
func throttle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", "3600")
	fail(w, http.StatusTooManyRequests, "Daily rate limit of 1000 requests exceeded for this endpoint.")
}

// refuse does not accept the key.
func refuse(w http.ResponseWriter, _ *http.Request) {
	fail(w, http.StatusUnauthorized, "Authentication failed. Your API key is either missing, incorrect, or revoked.")
}

func fail(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(object{"errors": []any{object{"detail": detail, "status": status}}})
}

// asked returns how often the stand-in was asked: about the given addresses, or in all.
func (s *standIn) asked(addrs ...string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(addrs) == 0 {
		for _, calls := range s.calls {
			n += calls
		}
	}
	for _, addr := range addrs {
		n += s.calls[addr]
	}
	return n
}

// ServeHTTP implements http.Handler.
func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	addr := r.URL.Query().Get("ipAddress")
	s.mu.Lock()
	s.calls[addr]++
	behaviour := s.behaviour
	s.mu.Unlock()
	if behaviour == nil {
		behaviour = s.answer
	}
	behaviour(w, r)
}

// answer is the normal way.
func (s *standIn) answer(w http.ResponseWriter, r *http.Request) {
	addr := r.URL.Query().Get("ipAddress")
	s.mu.Lock()
	known := s.reports[addr]
	s.mu.Unlock()
	switch {
	case r.Header.Get("Key") != keyText:
		refuse(w, r)
		return
	case r.URL.Path != "/check":
		fail(w, http.StatusNotFound, "no such endpoint")
		return
	}
	var last any
	if known.reporters > 0 {
		last = time.Now().UTC().Add(-time.Hour).Format(time.RFC3339)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object{"data": object{
		"ipAddress": addr, "isPublic": true, "isWhitelisted": nil, "isTor": false,
		"abuseConfidenceScore": known.confidence, "numDistinctUsers": known.reporters, "totalReports": 5 * known.reporters,
		"countryCode": "NL", "usageType": "Data Center/Web Hosting/Transit", "isp": "Example Hosting",
		"domain": "example.net", "hostnames": []any{}, "lastReportedAt": last,
	}})
}
