package deploy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// composed is what the tests read of compose.yaml.
type composed struct {
	Services map[string]struct {
		Image       string
		Build       struct{ Context string }
		PullPolicy  string `yaml:"pull_policy"`
		Restart     string
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		CapAdd      []string `yaml:"cap_add"`
		Privileged  bool
		SecurityOpt []string `yaml:"security_opt"`
		StopGrace   string   `yaml:"stop_grace_period"`
		Environment map[string]string
		Command     []string
		Entrypoint  []string
		Ports       []string
		Secrets     []string
		Volumes     []string
		Networks    []string
		DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
		Healthcheck struct{ Test []string }
		Deploy      struct {
			Resources struct {
				Limits struct {
					CPUs   string
					Memory string
					Pids   int
				}
			}
		}
	}
	Networks map[string]struct {
		Internal   bool
		EnableIPv6 bool `yaml:"enable_ipv6"`
	}
	Volumes map[string]any
	Secrets map[string]struct{ File string }
}

func readCompose(tb testing.TB) (c composed) {
	tb.Helper()
	if err := yaml.Unmarshal([]byte(deployed(tb, "deploy/compose.yaml")), &c); err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestCompose(t *testing.T) {
	c := readCompose(t)
	const own = "caddy-ip-reputation:local"
	builds := 0
	for name, s := range c.Services {
		if s.Build.Context != "" {
			builds++
		}
		switch {
		case s.Image == own && (s.Build.Context == "..") != (s.PullPolicy == "never"):
		case s.Image != own && pinned.MatchString(s.Image):
		default:
			t.Errorf("%s: %q is neither built here nor pinned by version and digest", name, s.Image)
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || s.CapAdd != nil || s.Privileged ||
			!slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}) || s.Restart != "unless-stopped" {
			t.Errorf("%s is given more than it needs", name)
		}
		if limits := s.Deploy.Resources.Limits; limits.CPUs == "" || limits.Memory == "" || limits.Pids == 0 {
			t.Errorf("%s has no limits", name)
		}
		if len(s.Healthcheck.Test) < 2 || len(s.Networks) == 0 {
			t.Errorf("%s has no health check, or is in everybody's network", name)
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s is open to others than this machine: %s", name, port)
			}
			if !slices.ContainsFunc(s.Networks, func(n string) bool { return !c.Networks[n].Internal }) {
				t.Errorf("%s: a port cannot be published from networks that are all internal", name)
			}
		}
		for other, how := range s.DependsOn {
			if how.Condition == "service_healthy" && c.Services[other].Healthcheck.Test == nil || c.Services[other].Image == "" {
				t.Errorf("%s waits for %s in vain", name, other)
			}
		}
		for variable := range s.Environment {
			if regexp.MustCompile(`(?i)(password|secret|token|key|url)$`).MatchString(variable) {
				t.Errorf("%s: %s belongs into a file", name, variable)
			}
		}
		for _, volume := range s.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if _, named := c.Volumes[source]; named {
				continue
			}
			if info, err := os.Stat(filepath.Join("deploy", source)); err != nil || !info.IsDir() || !strings.HasSuffix(volume, ":ro") {
				t.Errorf("%s: %s must be a volume or a folder that is here, read-only", name, volume)
			}
		}
		for _, secret := range s.Secrets {
			if c.Secrets[secret].File != "./secrets/"+secret {
				t.Errorf("%s: nobody makes the secret %s", name, secret)
			}
		}
		for _, network := range s.Networks {
			if _, known := c.Networks[network]; !known {
				t.Errorf("%s: there is no network %s", name, network)
			}
		}
	}
	if builds != 1 {
		t.Errorf("%d services build the image: one does, the others wait for it", builds)
	}
	for _, stored := range []string{"redis", "postgres"} {
		if networks := c.Services[stored].Networks; !slices.Equal(networks, []string{"storage"}) || !c.Networks["storage"].Internal {
			t.Errorf("%s can be reached through %v", stored, networks)
		}
	}
	if dir := c.Services["caddy"].Volumes[0]; !strings.Contains(deployed(t, ".gitignore"), "/deploy/secrets/\n") || dir != "./compose/caddy:/etc/caddy:ro" {
		t.Error("secrets would be committed, or Caddy has another Caddyfile")
	}
}

// TestComposeNames holds that what watches it asks for services that there are, and is told what deploy/prometheus has.
func TestComposeNames(t *testing.T) {
	c := readCompose(t)
	hosts := regexp.MustCompile(`(?m)(?:targets: \[|url: https?://|reverse_proxy |redis )(\w+):\d+`)
	files := []string{"prometheus/prometheus.yml", "alertmanager/alertmanager.yml", "grafana/datasources/prometheus.yaml", "caddy/Caddyfile"}
	for _, file := range files {
		found := hosts.FindAllStringSubmatch(deployed(t, "deploy/compose/"+file), -1)
		if len(found) == 0 {
			t.Errorf("%s names no service", file)
		}
		for _, host := range found {
			if _, known := c.Services[host[1]]; !known {
				t.Errorf("%s: there is no service %s", file, host[1])
			}
		}
	}

	rest := func(name string) string { // without the comment that heads a file
		_, text, _ := strings.Cut(deployed(t, name), "\n\n")
		return strings.ReplaceAll(text, "//localhost:9095", "//application:9095")
	}
	if diff := cmp.Diff(rest("deploy/prometheus/alertmanager.yml"), rest("deploy/compose/alertmanager/alertmanager.yml")); diff != "" {
		t.Errorf("the two Alertmanagers are not told the same (-prometheus +compose):\n%s", diff)
	}
}

// makeSecrets is a copy of deploy/ that compose.yaml could be started in. It returns the folder of its secrets.
func makeSecrets(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	script := filepath.Join(dir, "secrets.sh")
	if err := os.WriteFile(script, []byte(deployed(t, "deploy/secrets.sh")), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sh", script).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "secrets")
}

func TestComposeSecrets(t *testing.T) {
	dir := makeSecrets(t)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others may enter the folder of secrets: %v, %v", info, err)
	}
	made := map[string]string{}
	for name, secret := range readCompose(t).Secrets {
		file := filepath.Join(dir, filepath.Base(secret.File))
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o444 {
			t.Errorf("%s is not there, or its container cannot read it: %v, %v", name, info, err)
			continue
		}
		made[name] = deployed(t, file)
		if made[name] == "" {
			t.Errorf("%s is empty", name)
		}
	}
	hash := sha256.Sum256([]byte(made["redis_password"]))
	if want := " #" + hex.EncodeToString(hash[:]) + " "; !strings.Contains(made["redis_acl"], want) {
		t.Errorf("redis would not take the password: %q lacks %q", made["redis_acl"], want)
	}
	if want := "postgres://caddy:" + made["database_password"] + "@postgres:5432/reputation?"; !strings.HasPrefix(made["database_url"], want) {
		t.Error("the URL of the database has another password than the role")
	}
	if made["redis_password"] == made["database_password"] || made["postgres_password"] == made["database_password"] || len(made["redis_password"]) != 48 {
		t.Error("the passwords are not made up")
	}

	if out, err := exec.Command("sh", filepath.Join(dir, "..", "secrets.sh")).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("a second time: %v\n%s", err, out)
	}
	for name, before := range made {
		if deployed(t, filepath.Join(dir, name)) != before {
			t.Errorf("a second time %s is made anew, and the database keeps the old one", name)
		}
	}
}

// TestComposeDatabase holds that Caddy is no superuser of the database, and that the role that is made for it is the one it logs in as.
func TestComposeDatabase(t *testing.T) {
	c := readCompose(t).Services["postgres"]
	if user := c.Environment["POSTGRES_USER"]; user != "" || c.Environment["POSTGRES_PASSWORD_FILE"] != "/run/secrets/postgres_password" {
		t.Errorf("the superuser is %q", user)
	}
	if !slices.Contains(c.Volumes, "./compose/postgres:/docker-entrypoint-initdb.d:ro") || !slices.Contains(c.Secrets, "database_password") {
		t.Error("nobody makes Caddy's role, or it has no password")
	}
	for name, s := range readCompose(t).Services {
		if name != "postgres" && slices.Contains(s.Secrets, "postgres_password") {
			t.Errorf("%s knows the superuser's password", name)
		}
	}

	// What psql would be told: the arguments, then the statements.
	const name = "deploy/compose/postgres/reputation.sh"
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "psql"), []byte("#!/bin/sh\necho \"$@\"\ncat\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	run := exec.Command("sh", name)
	run.Env = []string{"PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH")}
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	told := string(out)
	for _, want := range []string{
		"ON_ERROR_STOP=1", "--username postgres", "\\set password `cat /run/secrets/database_password`\n",
		"\nCREATE ROLE caddy LOGIN PASSWORD :'password';\n", "\nCREATE DATABASE reputation OWNER caddy;\n",
	} {
		if !strings.Contains(told, want) {
			t.Errorf("psql is not told %q:\n%s", want, told)
		}
	}
	if regexp.MustCompile(`(?i)superuser|createrole|createdb|replication|bypassrls|grant`).MatchString(told) {
		t.Errorf("Caddy is given more than its database:\n%s", told)
	}
	if info, err := os.Stat(name); err != nil || info.Mode()&0o111 != 0o111 {
		t.Errorf("it is to be run, not read by the shell of the image: %v", err)
	}
}

// TestComposeForVisitors holds that it can be opened to visitors as README.md says, who then keep their addresses and find HTTP/3.
func TestComposeForVisitors(t *testing.T) {
	c := readCompose(t)
	if edge := c.Networks["edge"]; edge.Internal || !edge.EnableIPv6 {
		t.Error("visitors over IPv6 would come from Docker's private address, which is exempt")
	}
	if got := c.Services["caddy"].Environment["TRUSTED_PROXIES"]; got != "${TRUSTED_PROXIES-private_ranges}" {
		t.Errorf("TRUSTED_PROXIES is %s: set to nothing, private addresses would be believed all the same", got)
	}
	readme := deployed(t, "deploy/README.md")
	settings := regexp.MustCompile(`(?m)^(SITE_ADDRESS|HTTPS_PORT|TRUSTED_PROXIES)=(.*)$`).FindAllStringSubmatch(readme, -1)
	if len(settings) != 3 {
		t.Fatalf("README.md sets %v", settings)
	}
	for _, s := range settings {
		t.Setenv(s[1], s[2])
	}
	config := string(adapted(t, deployed(t, "deploy/compose/caddy/Caddyfile")))
	for _, want := range []string{`"https_port":443,`, `"trusted_proxies":{"source":"static"}`, `"host":["app.example.com"]`} {
		if !strings.Contains(config, want) {
			t.Errorf("with %v there is no %s:\n%s", settings, want, config)
		}
	}

	// Caddy announces HTTP/3 on the port on which it listens itself.
	for _, name := range []string{"deploy/compose.yaml", "deploy/README.md", "README.md"} {
		for _, m := range regexp.MustCompile(`(\d+):(\d+)/udp`).FindAllStringSubmatch(deployed(t, name), -1) {
			if m[1] != m[2] {
				t.Errorf("%s publishes %s: browsers would look for HTTP/3 on %s", name, m[0], m[2])
			}
		}
	}
	for command := range strings.SplitSeq(readme, "\n```\n") {
		if strings.Contains(command, "docker run") && strings.Contains(command, " -p ") && regexp.MustCompile(` -p \d+:\d`).MatchString(command) {
			t.Error("README.md publishes ports over IPv6 where the container has none")
		}
	}
}
