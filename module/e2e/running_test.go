package e2e_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
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
		app: object{"wait": "10s"}, // longer than any loopback call, unless a test is about waiting
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

// ask adds the stand-in as a provider, which has more time than any loopback call takes.
func (c *config) ask(s *standIn) {
	c.app["providers"] = []any{object{
		"service": object{"service": "abuseipdb", "url": s.URL}, "timeout": "60s",
		"keys": []any{object{"value": "{env." + keyName + "}"}},
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

// tryReload is reload for configurations that may be wrong.
func (r *running) tryReload(tb testing.TB) error {
	tb.Helper()
	defer r.awaitStop(tb)
	return caddy.Load(r.json(tb), true)
}

// load is tryReload by the admin API, for processes.
func (r *running) load(tb testing.TB) reply {
	tb.Helper()
	defer r.awaitStop(tb)
	return send(tb, http.MethodPost, r.admin+"/load", string(r.json(tb)), http.Header{"Content-Type": {"application/json"}})
}

// awaitStop waits until nobody is answered by the configuration before. Caddy lets its servers stop in goroutines, which a busy
// machine may leave accepting connections for a while.
func (r *running) awaitStop(tb testing.TB) {
	tb.Helper()
	eventually(tb, "one server listens at each address", func() bool {
		all := listeners()
		return all[r.siteAddr] <= 1 && all[r.adminAddr] <= 1
	})
}

// listeners returns how many sockets of this machine listen at each IPv4 address. Where there is no Linux, there are none.
func listeners() map[string]int {
	all := map[string]int{}
	table, err := os.Open("/proc/net/tcp")
	if err != nil {
		return all
	}
	defer table.Close()
	lines := bufio.NewScanner(table)
	for lines.Scan(); lines.Scan(); { // the first line is the head
		const listening = 0x0A
		var line, remote string
		var ip, port, state uint32
		// Those that listen come first. The others can be thousands.
		if _, err := fmt.Sscanf(lines.Text(), "%s %8x:%4x %s %2x", &line, &ip, &port, &remote, &state); err != nil || state != listening {
			break
		}
		addr := netip.AddrFrom4([4]byte(binary.NativeEndian.AppendUint32(nil, ip)))
		all[netip.AddrPortFrom(addr, uint16(port)).String()]++
	}
	return all
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
	return r.request(tb, client, "/")
}

// request sends a GET as a client, with header lines such as `Referer: https://example.net/`.
func (r *running) request(tb testing.TB, client, path string, lines ...string) reply {
	tb.Helper()
	return r.requestBy(tb, http.MethodGet, client, path, lines...)
}

// requestBy is request with another method.
func (r *running) requestBy(tb testing.TB, method, client, path string, lines ...string) reply {
	tb.Helper()
	header := http.Header{"X-Forwarded-For": {client}}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		header.Add(name, value)
	}
	return send(tb, method, r.site+path, "", header)
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
	for again := 0; again < 20 && brokenByReload(err); again++ {
		time.Sleep(2 * time.Millisecond)
		if req.Body, err = req.GetBody(); err != nil {
			tb.Fatal(err)
		}
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
// of several listeners on the port, and the kernel resets those that wait in its queue, which nobody has read. If the client
// notices while it still writes, it closes the connection, and its own read fails.
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

// eventually waits until what is expected is so, and fails the test if that takes too long. The longer it waits, the longer it
// sleeps between two looks, which have their price.
func eventually(tb testing.TB, what string, so func() bool) {
	tb.Helper()
	const enough = time.Minute // for a busy machine
	for began := time.Now(); !so(); {
		waited := time.Since(began)
		if waited > enough {
			tb.Fatalf("in vain: %s", what)
		}
		time.Sleep(min(max(waited/16, 2*time.Millisecond), 100*time.Millisecond))
	}
}
