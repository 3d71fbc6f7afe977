package deploy_test

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// TestXcaddy builds Caddy by `make xcaddy`, which is how the image is built and how operators add plugins. It holds that the program
// has every module that imports.go registers, of the versions that go.mod names, and knows its own version and revision.
//
// It compiles with the flags of this test, so that the build cache already has every package and only linking is left.
func TestXcaddy(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip(err)
	}
	own, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("the test does not know how it was built")
	}
	flags, cgo := "", "0"
	for _, s := range own.Settings {
		switch {
		case s.Key == "-race" && s.Value == "true":
			flags = "-race"
		case s.Key == "CGO_ENABLED":
			cgo = s.Value
		}
	}
	program := filepath.Join(t.TempDir(), "caddy")
	build := exec.CommandContext(t.Context(), "make", "xcaddy",
		"OUTPUT="+program, "XCADDY_FLAGS="+flags, "VERSION=v1.2.3-test", "REVISION=4a18beb", "PLUGINS=")
	build.Env = append(os.Environ(), "CGO_ENABLED="+cgo, "MAKEFLAGS=", "TMPDIR="+t.TempDir())
	if out, err := build.CombinedOutput(); err != nil {
		// Asked only now: with a warm cache, nothing of it is needed.
		probe := exec.CommandContext(t.Context(), "go", "list", "-m", "-mod=mod", "-versions", "github.com/caddyserver/xcaddy")
		if answer, unreachable := probe.CombinedOutput(); unreachable != nil && os.Getenv("CI") == "" {
			t.Skipf("the module proxy cannot be reached: %s", answer)
		}
		t.Fatalf("make xcaddy: %v\n%s", err, out)
	}

	out, err := exec.CommandContext(t.Context(), program, "list-modules").Output()
	if err != nil {
		t.Fatal(err)
	}
	has := strings.Fields(string(out))
	ours := 0
	for _, id := range caddy.Modules() {
		if !slices.Contains(has, id) {
			t.Errorf("the program has no module %s", id)
		}
		if strings.Contains(id, "ip_reputation") {
			ours++
		}
	}
	if ours < 12 {
		t.Errorf("imports.go registers %d modules only", ours)
	}

	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	listed, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Path}} {{.Version}}", "all").Output()
	if err != nil {
		t.Fatal(err)
	}
	versions, same := map[string]string{}, 0
	for line := range strings.Lines(string(listed)) {
		path, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		versions[path] = version
	}
	for _, dep := range info.Deps {
		switch want := versions[dep.Path]; {
		case dep.Replace != nil: // this checkout
		case want == dep.Version:
			same++
		default:
			t.Errorf("%s is compiled in as %s, go.mod names %q", dep.Path, dep.Version, want)
		}
	}
	if same < 50 {
		t.Errorf("found %d modules with the versions of go.mod only", same)
	}

	if got := buildInfo(t, program); !strings.Contains(got, `version="v1.2.3-test"`) || !strings.Contains(got, `revision="4a18beb"`) {
		t.Errorf("version and revision are not stamped: %s", got)
	}
}

// buildInfo runs a Caddy with the plugin and returns its metric build_info.
func buildInfo(t *testing.T, program string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	admin := l.Addr().String()
	l.Close()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	run := exec.CommandContext(ctx, program, "run", "--config", "-")
	run.Stdin = strings.NewReader(fmt.Sprintf(`{"admin": {"listen": %q}, "apps": {"ip_reputation": {}}}`, admin))
	run.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	var log bytes.Buffer
	run.Stdout, run.Stderr = &log, &log
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }()
	stopped := false
	defer func() {
		if !stopped {
			cancel()
			<-ended //nolint:errcheck // it was killed here
		}
	}()

	line := regexp.MustCompile(`(?m)^caddy_ip_reputation_build_info\{.*$`)
	for {
		if text := get(ctx, "http://"+admin+"/metrics"); line.MatchString(text) {
			return line.FindString(text)
		}
		select {
		case err := <-ended:
			stopped = true
			t.Fatalf("Caddy ended: %v\n%s", err, &log)
		case <-ctx.Done():
			t.Fatalf("Caddy has no metric build_info\n%s", &log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// get returns the body of a page, or nothing if there is none yet.
func get(ctx context.Context, url string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return ""
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return string(text)
}
