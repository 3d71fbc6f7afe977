package e2e_test

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// caddyCommand returns the command line as a process of its own, with the configuration's data folder.
func (c *config) caddyCommand(tb testing.TB, args ...string) *exec.Cmd {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCaddy+"=1", quickEnd(), "XDG_DATA_HOME="+c.dataDir)
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
