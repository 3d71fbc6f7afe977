package docs_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// asCaddy makes this test's program be Caddy, which saves building it.
const asCaddy = "IPREP_DOCS_AS_CADDY"

func TestMain(m *testing.M) {
	if os.Getenv(asCaddy) != "" {
		caddycmd.Main() // ends the process if something goes wrong
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// step is a block of the guide, and what the guide says of its output, line by line.
type step struct {
	line          int
	script, shows string
}

// TestGettingStarted follows docs/getting-started.md word by word, from its second step on: every command must succeed, and
// every line that the page shows must come, in this order.
func TestGettingStarted(t *testing.T) {
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	text, err := os.ReadFile("getting-started.md")
	if err != nil {
		t.Fatal(err)
	}
	before, guide, ok := strings.Cut(string(text), "\n## 2. ")
	if !ok {
		t.Fatal("the guide has no second step")
	}
	steps := readSteps(t, guide, strings.Count(before, "\n")+2)
	if len(steps) < 10 {
		t.Fatalf("found %d steps only", len(steps))
	}

	dir := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "caddy"), fmt.Appendf(nil, "#!/bin/sh\nexec '%s' \"$@\"\n", program), 0o755); err != nil {
		t.Fatal(err)
	}
	ports := freePorts(t, 3)
	admin := "localhost:" + ports[2]
	elsewhere := strings.NewReplacer(":8080", ":"+ports[0], ":9000", ":"+ports[1], ":2019", ":"+ports[2])
	run := func(script string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", elsewhere.Replace(script))
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), asCaddy+"=1", "CADDY_ADMIN="+admin, "HOME="+dir, "XDG_DATA_HOME=", "XDG_CONFIG_HOME=", "http_proxy=", "HTTP_PROXY=")
		cmd.WaitDelay = 5 * time.Second
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	stopped := false
	defer func() {
		if !stopped {
			run("./caddy stop") //nolint:errcheck // it may not have started
		}
	}()
	for _, s := range steps {
		out, err := run(s.script)
		if err != nil {
			log, _ := os.ReadFile(filepath.Join(dir, "caddy.log"))
			t.Fatalf("getting-started.md:%d: %v\n%s\n%s\ncaddy.log:\n%s", s.line, err, s.script, out, log)
		}
		rest := out
		for want := range strings.Lines(s.shows) {
			_, after, ok := strings.Cut(squeeze(rest), squeeze(want))
			if !ok {
				t.Fatalf("getting-started.md:%d: no %q, or not in this place, in the output of\n%s\n%s", s.line, want, s.script, out)
			}
			rest = after
		}
	}
	stopped = true
}

// squeeze makes one space of each run of spaces, since alignment is not what the guide promises.
func squeeze(text string) string { return spaces.ReplaceAllString(text, " ") }

var spaces = regexp.MustCompile(` +`)

// readSteps returns the blocks of shell, each with the block of output that follows it.
func readSteps(t *testing.T, guide string, line int) (steps []step) {
	t.Helper()
	blocks := regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$").FindAllStringSubmatchIndex(guide, -1)
	for _, b := range blocks {
		language, text := guide[b[2]:b[3]], guide[b[4]:b[5]]
		at := line + strings.Count(guide[:b[0]], "\n")
		switch {
		case language == "sh":
			steps = append(steps, step{line: at, script: text})
		case language == "text" && len(steps) > 0:
			steps[len(steps)-1].shows = text
		default:
			t.Errorf("getting-started.md:%d: a block of %s, which nobody follows", at, language)
		}
	}
	return steps
}

// freePorts returns ports that nobody listens on.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port)
	}
	return ports
}
