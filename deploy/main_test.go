// Package deploy_test holds how it is deployed and released. No test of it has Docker, a cluster or GitHub: they hold that the files
// agree with each other and with the program, and that what protects a container, or a workflow, is there. What Prometheus and
// Alertmanager say is in the tests of package module.
package deploy_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/caddyserver/certmagic"

	_ "github.com/caddy-ip-reputation/caddy-ip-reputation"
)

// TestMain runs the tests at the top of the repository, from where files name each other.
func TestMain(m *testing.M) {
	if err := os.Chdir(".."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func deployed(tb testing.TB, name string) string {
	tb.Helper()
	text, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// TestDeployedCaddyfiles proves that Caddy takes them, with the secrets that are made for them.
func TestDeployedCaddyfiles(t *testing.T) {
	secrets := makeSecrets(t)
	for _, dir := range []string{
		"debian", "docker", "compose/caddy", "compose/application", "kubernetes/overlays/gateway", "kubernetes/overlays/sidecar",
	} {
		t.Run(dir, func(t *testing.T) {
			name := "deploy/" + dir + "/Caddyfile"
			text := deployed(t, name)
			if formatted := string(caddyfile.Format([]byte(text))); formatted != text {
				t.Errorf("run `caddy fmt --overwrite %s`", name)
			}
			here, err := filepath.Abs("deploy/" + dir)
			if err != nil {
				t.Fatal(err)
			}
			text = strings.NewReplacer("/run/secrets/ip-reputation/", secrets+"/", "/run/secrets/", secrets+"/", "/etc/caddy/", here+"/").Replace(text)
			config := adapted(t, text)
			validate(t, config)
			for _, name := range []string{"redis_password", "database_password"} {
				if bytes.Contains(config, []byte(deployed(t, filepath.Join(secrets, name)))) {
					t.Errorf("%s is in the configuration", name)
				}
			}
		})
	}
}

// adapted is the JSON of a Caddyfile.
func adapted(t *testing.T, text string) []byte {
	t.Helper()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// validate provisions a configuration without running it. Nothing is fetched and nobody is asked.
func validate(t *testing.T, config []byte) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	storage := caddy.DefaultStorage
	caddy.DefaultStorage = &certmagic.FileStorage{Path: dir}
	t.Cleanup(func() { caddy.DefaultStorage = storage })
	var parsed *caddy.Config
	if err := json.Unmarshal(config, &parsed); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(parsed); err != nil {
		t.Error(err)
	}
}

// stopping is how long Caddy may take to stop, as a Caddyfile says.
func stopping(t *testing.T, name string) (total time.Duration) {
	t.Helper()
	text := deployed(t, name)
	found := regexp.MustCompile(`(?m)^\t(?:shutdown_delay|grace_period) (\S+)`).FindAllStringSubmatch(text, -1)
	if !strings.Contains(text, "\n\tgrace_period ") {
		t.Fatalf("%s has no grace_period: one endless response keeps Caddy from stopping", name)
	}
	for _, m := range found {
		d, err := time.ParseDuration(m[1])
		if err != nil {
			t.Fatal(err)
		}
		total += d
	}
	return total
}

// TestStopping holds that nobody kills a Caddy that is still serving.
func TestStopping(t *testing.T) {
	within := func(name, given string, seconds bool) {
		t.Helper()
		if seconds {
			given += "s"
		}
		if patience, err := time.ParseDuration(given); err != nil || patience <= stopping(t, name) {
			t.Errorf("%s: Caddy takes up to %v to stop, and is given %s", name, stopping(t, name), given)
		}
	}
	unit := regexp.MustCompile(`(?m)^TimeoutStopSec=(\S+)$`).FindStringSubmatch(deployed(t, "deploy/systemd/caddy-ip-reputation.service"))
	if unit == nil {
		t.Fatal("the service does not say how long Caddy may take to stop")
	}
	for _, name := range []string{"deploy/debian/Caddyfile", "Caddyfile.example", "README.md"} {
		within(name, unit[1], false)
	}
	within("deploy/docker/Caddyfile", "10s", false) // Docker's default
	within("deploy/compose/caddy/Caddyfile", readCompose(t).Services["caddy"].StopGrace, false)
	base := find[string](t, "deploy/kubernetes/base/caddy.yaml", "Deployment", "spec", "template", "spec", "terminationGracePeriodSeconds")
	for _, overlay := range []string{"gateway", "sidecar"} {
		within("deploy/kubernetes/overlays/"+overlay+"/Caddyfile", base, true)
	}
	// the application beside it is needed until Caddy is gone
	sleep := regexp.MustCompile(`sleep: \{seconds: (\d+)\}`).FindStringSubmatch(deployed(t, "deploy/kubernetes/overlays/sidecar/application.yaml"))
	if sleep == nil || sleep[1]+"s" != stopping(t, "deploy/kubernetes/overlays/sidecar/Caddyfile").String() {
		t.Errorf("the application stops after %v", sleep)
	}
}
