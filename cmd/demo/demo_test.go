package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// actAs makes the test binary act as the demo, or as the caddy of the commands that the demo names.
const actAs = "IP_REPUTATION_TEST_ACT_AS"

func TestMain(m *testing.M) {
	switch os.Getenv(actAs) {
	case "demo":
		main()
	case "caddy":
		caddycmd.Main()
	default:
		os.Exit(m.Run())
	}
}

// TestDemo proves that each line that the demo gives does what is said of it, and that Ctrl-C leaves nothing behind.
func TestDemo(t *testing.T) {
	d := startDemo(t)

	t.Run("clean", func(t *testing.T) {
		a := d.curl(t, "clean")
		a.wants(t, http.StatusOK, "This is the application", "X-Ip-Reputation-Score: 1\n", "X-Ip-Reputation-Action: pass\n")
		if got := a.Header.Get("X-Robots-Tag"); got != "" {
			t.Errorf("X-Robots-Tag %q for a clean client", got)
		}
	})
	t.Run("suspicious", func(t *testing.T) {
		a := d.curl(t, "suspicious")
		a.wants(t, http.StatusOK, "This is the application", "X-Ip-Reputation-Score: 72\n", "X-Ip-Reputation-Action: pass\n",
			"abuseipdb;points=12.0", "sample_attackers;points=12.0")
		if got := a.Header.Get("X-Robots-Tag"); got != "noindex" {
			t.Errorf("X-Robots-Tag %q, want noindex", got)
		}
	})
	t.Run("refused", func(t *testing.T) {
		a := d.curl(t, "refused")
		a.wants(t, http.StatusForbidden, "Access refused", a.Header.Get("X-Request-Id"))
		if strings.Contains(a.body, "This is the application") {
			t.Errorf("the application answered:\n%s", a.body)
		}
	})
	t.Run("commands", func(t *testing.T) {
		for _, want := range []struct{ command, output string }{
			{"check", "sample_attackers"},
			{"ban", "192.0.2.10"},
		} {
			if output := d.caddy(t, want.command); !strings.Contains(output, want.output) {
				t.Errorf("%s says nothing of %s:\n%s", want.command, want.output, output)
			}
		}
		d.curl(t, "clean").wants(t, http.StatusForbidden, "Access refused")
	})
	t.Run("metrics", func(t *testing.T) {
		line := regexp.MustCompile(`curl -s (http://\S+) \| grep (\S+)`).FindStringSubmatch(d.text)
		if line == nil {
			t.Fatalf("no line for the metrics in:\n%s", d.text)
		}
		a := get(t, line[1], "")
		blocked := regexp.MustCompile(`(?m)`+line[2]+`{action="block",mode="enforce",.*} [1-9]`).FindAllString(a.body, -1)
		if len(blocked) != 1 || !strings.HasSuffix(blocked[0], `status="fresh"} 2`) {
			t.Errorf("of the two requests that were refused, it counts %q", blocked)
		}
	})
	t.Run("scanner", func(t *testing.T) {
		d.curl(t, "scanner").wants(t, http.StatusForbidden, "Access refused")
	})
	t.Run("README", func(t *testing.T) { wantsPicture(t, d) })

	if err := d.interrupt(); err != nil {
		t.Errorf("Ctrl-C: %v, want a clean end; it said:\n%s", err, d.log.String())
	}
	if left, err := filepath.Glob(filepath.Join(d.temp, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// wantsPicture holds that what README.md shows under "What you see" is what the demo shows.
func wantsPicture(t *testing.T, d *demo) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, begins := strings.Cut(string(text), "\n## What you see\n")
	section, _, ends := strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?ms)^```\\w+\n(.*?)^```$").FindAllStringSubmatch(section, -1)
	if !begins || !ends || len(blocks) != 3 {
		t.Fatalf("README.md has %d blocks under \"What you see\", want headers, the check and a refusal", len(blocks))
	}
	refused := d.curl(t, "refused")
	response := refused.Proto + " " + refused.Status + "\n"
	for name := range refused.Header {
		response += name + ": " + refused.Header.Get(name) + "\n"
	}
	for i, got := range []string{d.curl(t, "suspicious").body, d.caddy(t, "check"), response} {
		got = regexp.MustCompile(`;age=\d+|, asked \d+s ago`).ReplaceAllString(got, "") // an answer is older on a slow machine
		for line := range strings.Lines(blocks[i][1]) {
			if strings.HasPrefix(line, "$ ") {
				continue
			}
			if name, value, ok := strings.Cut(line, ": "); ok && name == "X-Request-Id" {
				line = name + ": " // each has its own
			} else if ok && name == "cache-control" { // the server's spelling, which the client has changed
				line = "Cache-Control: " + value
			}
			if !strings.Contains(got, line) {
				t.Errorf("README.md shows %q, which is not in\n%s", line, got)
			}
		}
	}
}

// TestPortTaken proves that the demo does not share its ports with anybody, and says what to do.
func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	free := freePort(t)
	for _, tc := range []struct{ name, site, admin, want string }{
		{"site", port, free, "choose another port, as in `make run DEMO_PORT="},
		{"admin", free, port, "choose another port, as in `make run DEMO_ADMIN_PORT="},
		{"one for both", free, free, "choose another port, as in `make run DEMO_ADMIN_PORT="},
		{"no number", "http", free, `DEMO_PORT is "http": use the number of a port`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cmd := self(t, "demo", "DEMO_PORT="+tc.site, "DEMO_ADMIN_PORT="+tc.admin)
			output, err := cmd.CombinedOutput()
			if _, exited := errors.AsType[*exec.ExitError](err); !exited {
				t.Fatalf("it ended with %v, want an exit code", err)
			}
			if !strings.Contains(string(output), tc.want) {
				t.Errorf("it said:\n%s\nwant %s", output, tc.want)
			}
		})
	}
}

// demo is a running demo.
type demo struct {
	cmd  *exec.Cmd
	temp string
	text string // what it said to try
	log  bytes.Buffer
}

// startDemo runs the demo on free ports, as `make run` does, and returns when it has said what to try.
func startDemo(t *testing.T) *demo {
	t.Helper()
	d := &demo{temp: t.TempDir()}
	d.cmd = self(t, "demo",
		"DEMO_PORT="+freePort(t), "DEMO_ADMIN_PORT="+freePort(t), "TMPDIR="+d.temp,
		// what an operator may have set for a real Caddy: none of it may be used
		"ABUSEIPDB_KEY=the-operators-own", "ABUSEIPDB_URL=http://127.0.0.1:1", "SITE_ADDRESS=:1")
	d.cmd.Stderr = &d.log
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.cmd.Process.Kill() })
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		d.text += lines.Text() + "\n"
		if strings.Contains(lines.Text(), "Ctrl-C ends the demo") {
			return d
		}
	}
	err = d.cmd.Wait()
	t.Fatalf("the demo ended early: %v\n%s", err, d.log.String())
	return nil
}

func (d *demo) interrupt() error {
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return d.cmd.Wait()
}

// curl does what the line for a client says. Caddy keeps a request waiting for 25ms at most, so on a busy machine the
// first one may find the answer pending; then curl asks again.
func (d *demo) curl(t *testing.T, client string) answer {
	t.Helper()
	line := regexp.MustCompile(`(?m)^  ` + client + `\n +curl -i -H 'X-Forwarded-For: (\S+)' (http://\S+)$`).FindStringSubmatch(d.text)
	if line == nil {
		t.Fatalf("no line for the %s client in:\n%s", client, d.text)
	}
	for {
		a := get(t, line[2], line[1])
		if !strings.Contains(a.body, "X-Ip-Reputation-Status: pending\n") {
			return a
		}
	}
}

// caddy runs the line for a command, with the test binary for `go run ./cmd/caddy`.
func (d *demo) caddy(t *testing.T, command string) string {
	t.Helper()
	line := regexp.MustCompile(`go run \./cmd/caddy (ip-reputation ` + command + ` .*)`).FindStringSubmatch(d.text)
	if line == nil {
		t.Fatalf("no line for the command %s in:\n%s", command, d.text)
	}
	var args []string
	for _, word := range regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(line[1], -1) {
		args = append(args, strings.Trim(word, `"`))
	}
	cmd := self(t, "caddy", "HOME="+t.TempDir())
	cmd.Args = append(cmd.Args, args...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line[0], err, output)
	}
	return string(output)
}

// answer is an HTTP response and its body.
type answer struct {
	*http.Response
	body string
}

func (a answer) wants(t *testing.T, status int, words ...string) {
	t.Helper()
	if a.StatusCode != status {
		t.Errorf("status %d, want %d", a.StatusCode, status)
	}
	for _, word := range words {
		if word == "" || !strings.Contains(a.body, word) {
			t.Errorf("no %q in:\n%s", word, a.body)
		}
	}
}

// get asks for a page as the proxy of a client.
func get(t *testing.T, url, client string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if client != "" {
		request.Header.Set("X-Forwarded-For", client)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response, string(body)}
}

// self returns a command that runs the test binary in a role, at the root of the repository.
func self(t *testing.T, role string, environment ...string) *exec.Cmd {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), append(environment, actAs+"="+role)...)
	return cmd
}

// freePort returns a port that nobody uses.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
