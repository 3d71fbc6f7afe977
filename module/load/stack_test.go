package load_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// The stand-in for the provider, while there is load.
const (
	providerLatency = 100 * time.Millisecond
	failsEvery      = 20 // of the calls one: 5 %
	providerKey     = "the-key-of-the-load-test"
)

// stack is everything that takes part: Caddy with us and plain Caddy, of the same program, and all that they need. What stands in
// for the provider and for those who publish lists is part of this process.
type stack struct {
	with, plain *server
	database    *testenv.PostgreSQLServer
	strained    atomic.Bool // the provider is slow, and fails now and then
	calls       atomic.Int64
	failed      atomic.Int64
}

func startStack(t *testing.T, program string) *stack {
	t.Helper()
	s := &stack{database: testenv.PostgreSQL(t)}
	redis := testenv.Redis(t)
	standIns := httptest.NewServer(http.HandlerFunc(s.standIns))
	t.Cleanup(standIns.Close)
	folder := t.TempDir()
	var deny strings.Builder
	for i := range crowds[denied] {
		fmt.Fprintln(&deny, denied.client(i))
	}
	if err := os.WriteFile(filepath.Join(folder, "deny.txt"), []byte(deny.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	environment := []string{
		"STANDINS=" + standIns.URL, "KEY=" + providerKey, "REDIS=" + redis.Addr, "DATABASE=" + s.database.DSN,
	}
	s.plain = startServer(t, program, "plain.Caddyfile", t.TempDir(), environment)
	s.with = startServer(t, program, "Caddyfile", folder, environment)
	s.ready(t)
	return s
}

// standIns answer in the place of those who publish lists, and of AbuseIPDB.
func (s *stack) standIns(w http.ResponseWriter, r *http.Request) {
	if list, ok := strings.CutPrefix(r.URL.Path, "/list/"); ok {
		n, _ := strconv.Atoi(list)
		_, _ = w.Write(listText(n))
		return
	}
	addr, err := netip.ParseAddr(r.URL.Query().Get("ipAddress"))
	if err != nil || r.Header.Get("Key") != providerKey {
		http.Error(w, "not a question that AbuseIPDB is asked", http.StatusUnauthorized)
		return
	}
	if n := s.calls.Add(1); s.strained.Load() {
		time.Sleep(providerLatency)
		if n%failsEvery == 0 {
			s.failed.Add(1)
			http.Error(w, "out of order", http.StatusInternalServerError)
			return
		}
	}
	confidence, reporters := opinion(addr)
	var last any
	if reporters > 0 {
		last = time.Now().UTC().Format(time.RFC3339)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{
		"ipAddress": addr, "isPublic": true, "abuseConfidenceScore": confidence, "numDistinctUsers": reporters,
		"totalReports": reporters, "countryCode": "NL", "usageType": "Fixed Line ISP", "lastReportedAt": last,
	}})
}

// opinion is what the provider thinks of an address: in percent, and by how many.
func opinion(addr netip.Addr) (confidence, reporters int) {
	switch kindOf(addr) {
	case reported:
		return 100, 60
	case suspicious:
		return 75, 30
	}
	return 0, 0
}

// ready waits until everything is up, and makes the known clients known: the lists are in force, and the provider, which has
// no latency yet, has been asked about all who are not unknown.
func (s *stack) ready(t *testing.T) {
	t.Helper()
	s.with.await(t, "the lists, Redis and PostgreSQL are there", func(m metrics) bool {
		return m.sum("feed_entries") >= lists*prefixes && m.sum("redis_up") == 1 && m.sum("history_up") == 1
	})
	var clients []netip.Addr
	for _, k := range []kind{known, suspicious, reported} {
		for i := range crowds[k] {
			clients = append(clients, k.client(i))
		}
	}
	var next atomic.Int64
	var all sync.WaitGroup
	for range 2 { // as many as may ask at a time
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(clients)); i = next.Add(1) - 1 {
				s.with.acquaint(t, clients[i])
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	s.strained.Store(true)
	s.calls.Store(0)
	s.failed.Store(0)
}

// server is a Caddy.
type server struct {
	site, admin, folder string
}

// startServer runs a Caddyfile of testdata until the test ends.
func startServer(t *testing.T, program, caddyfile, folder string, environment []string) *server {
	t.Helper()
	s := &server{site: freeAddr(t), admin: freeAddr(t), folder: folder}
	cmd := exec.CommandContext(context.Background(), program, "run", "--adapter", "caddyfile", "--config", filepath.Join("testdata", caddyfile))
	cmd.Env = append(os.Environ(), environment...)
	cmd.Env = append(cmd.Env, "SITE="+s.site, "ADMIN="+s.admin, "FOLDER="+folder, "XDG_DATA_HOME="+folder, "XDG_CONFIG_HOME="+folder)
	cmd.Stderr = os.Stderr // has what it says before it has a log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", s.site); err == nil {
			_ = conn.Close()
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not serve; its log:\n%s", caddyfile, s.log())
		}
	}
}

// log returns the end of what it has logged.
func (s *server) log() string {
	text, _ := os.ReadFile(filepath.Join(s.folder, "log"))
	return string(text[max(0, len(text)-4000):])
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// acquaint has the provider asked about a client, until it has answered.
func (s *server) acquaint(t *testing.T, client netip.Addr) {
	for end := time.Now().Add(time.Minute); ; {
		body, err := s.get("/ip_reputation/check/" + client.String() + "?fresh")
		if err == nil && bytes.Contains(body, []byte(`"status":"fresh"`)) {
			return
		}
		if time.Now().After(end) {
			t.Errorf("the provider cannot be asked about %s: %v %s", client, err, body)
			return
		}
	}
}

// get asks the admin API.
func (s *server) get(path string) ([]byte, error) {
	resp, err := http.Get("http://" + s.admin + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// metrics is what Caddy's /metrics says, by name with labels.
type metrics map[string]float64

func (s *server) metrics(t *testing.T) metrics {
	t.Helper()
	text, err := s.get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	m := metrics{}
	for line := range strings.Lines(string(text)) {
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64)
		if err != nil {
			t.Fatal(err)
		}
		m[line[:at]] = value
	}
	return m
}

// sum adds up the series of one of our metrics that have all of the labels, such as `result="ok"`.
func (m metrics) sum(name string, labels ...string) (sum float64) {
series:
	for series, value := range m {
		rest, ours := strings.CutPrefix(series, "caddy_ip_reputation_"+name)
		if !ours || rest != "" && rest[0] != '{' {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(rest, label) {
				continue series
			}
		}
		sum += value
	}
	return sum
}

// await waits until the metrics are as they should be.
func (s *server) await(t *testing.T, what string, so func(metrics) bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !so(s.metrics(t)); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s; the log:\n%s", what, s.log())
		}
	}
}
