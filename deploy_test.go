package caddyipreputation_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// The tests of how it is deployed. None of them has Docker or a cluster: they hold that the files agree with each other and with
// the program, and that what protects a container is there. What Prometheus and Alertmanager say is in module/deploy_test.go.

var update = flag.Bool("update", false, "copy the alerts into deploy/kubernetes")

func deployed(tb testing.TB, name string) string {
	tb.Helper()
	text, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// pinned is an image that is always the same one.
var pinned = regexp.MustCompile(`^[a-z0-9./-]+:[\w.-]*\d[\w.-]*@sha256:[0-9a-f]{64}$|^gcr\.io/distroless/[a-z0-9-]+:nonroot@sha256:[0-9a-f]{64}$`)

// instructions are those of a Dockerfile, without comments and with continued lines as one.
func instructions(text string) (found [][2]string) {
	text = regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(text, "")
	text = regexp.MustCompile(`\\\n\s*`).ReplaceAllString(text, " ")
	for line := range strings.Lines(text) {
		if word, rest, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			found = append(found, [2]string{word, strings.TrimSpace(rest)})
		}
	}
	return found
}

func TestDockerfile(t *testing.T) {
	last := map[string]string{} // of the image itself
	labels, stages := "", 0
	for _, in := range instructions(deployed(t, "Dockerfile")) {
		word, rest := in[0], in[1]
		switch word {
		case "FROM":
			fields := slices.DeleteFunc(strings.Fields(rest), func(f string) bool { return strings.HasPrefix(f, "--") })
			if !pinned.MatchString(fields[0]) {
				t.Errorf("%s is not pinned by version and digest", fields[0])
			}
			last, stages = map[string]string{}, stages+1
		case "ADD":
			t.Errorf("ADD unpacks and fetches: use COPY for %s", rest)
		case "LABEL":
			labels += " " + rest
		}
		last[word] = rest
	}
	if stages != 2 {
		t.Errorf("there are %d stages", stages)
	}
	if !regexp.MustCompile(`^[1-9]\d+:[1-9]\d+$`).MatchString(last["USER"]) {
		t.Errorf("the user is %q: it must be a number, for runAsNonRoot, and not root's", last["USER"])
	}
	for _, word := range []string{"CMD", "HEALTHCHECK"} {
		words := last[word][max(strings.Index(last[word], "["), 0):]
		var argv []string
		if json.Unmarshal([]byte(words), &argv) != nil || len(argv) == 0 || argv[0] != "/usr/bin/caddy" {
			t.Errorf("%s %s: there is no shell, so it must be a list that begins with /usr/bin/caddy", word, last[word])
		}
	}
	if last["VOLUME"] != `["/data", "/config"]` || last["RUN"] != "" || last["ENTRYPOINT"] != "" {
		t.Errorf("the image has %v", last)
	}
	for _, name := range []string{"title", "description", "url", "source", "documentation", "licenses", "version", "revision", "base.name"} {
		if !strings.Contains(labels, " org.opencontainers.image."+name+`="`) {
			t.Errorf("there is no label %s", name)
		}
	}
	if image, mod := regexp.MustCompile(`golang:(\d+\.\d+)`).FindStringSubmatch(deployed(t, "Dockerfile")),
		regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(deployed(t, "go.mod")); image[1] != mod[1] {
		t.Errorf("it is built with Go %s, go.mod asks for %s", image[1], mod[1])
	}
	if ignore := deployed(t, ".dockerignore"); !strings.Contains("\n"+ignore, "\n*\n!") {
		t.Error(".dockerignore must name what is let in, or secrets get into the context")
	}
	if !strings.Contains(deployed(t, "module/internal/metrics/build.go"), "var stampedVersion, stampedRevision string") {
		t.Error("the linker is told of variables that are not there: the image would not know its version")
	}
}

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
	Networks map[string]struct{ Internal bool }
	Volumes  map[string]any
	Secrets  map[string]struct{ File string }
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
	if want := "postgres://caddy:" + made["postgres_password"] + "@postgres:5432/reputation?"; !strings.HasPrefix(made["database_url"], want) {
		t.Error("the URL of the database has another password than the database")
	}
	if made["redis_password"] == made["postgres_password"] || len(made["redis_password"]) != 48 {
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

// TestDeployedCaddyfiles proves that Caddy takes them, with the secrets that are made for them.
func TestDeployedCaddyfiles(t *testing.T) {
	secrets := makeSecrets(t)
	for _, dir := range []string{
		"docker", "compose/caddy", "compose/application", "kubernetes/overlays/gateway", "kubernetes/overlays/sidecar",
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
			for _, name := range []string{"redis_password", "postgres_password"} {
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
	found := regexp.MustCompile(`(?m)^\t(?:shutdown_delay|grace_period) (\S+)$`).FindAllStringSubmatch(deployed(t, name), -1)
	if len(found) != 2 {
		t.Fatalf("%s does not say how Caddy stops", name)
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

// find returns what is in a file of manifests, in the one of a kind, under a path of names.
func find[T any](t *testing.T, name, kind string, path ...string) (value T) {
	t.Helper()
	documents := yaml.NewDecoder(strings.NewReader(deployed(t, name)))
	for {
		var node yaml.Node
		if err := documents.Decode(&node); errors.Is(err, io.EOF) {
			t.Fatalf("%s has no %s", name, kind)
		} else if err != nil {
			t.Fatal(err)
		}
		at := node.Content[0]
		if k := member(at, "kind"); k == nil || k.Value != kind {
			continue
		}
		for _, step := range path {
			if i, err := strconv.Atoi(step); err == nil && at.Kind == yaml.SequenceNode && i < len(at.Content) {
				at = at.Content[i]
			} else if at = member(at, step); at == nil {
				t.Fatalf("%s: %s has no %s of %v", name, kind, step, path)
			}
		}
		if err := at.Decode(&value); err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func member(node *yaml.Node, name string) *yaml.Node {
	for i := 0; node.Kind == yaml.MappingNode && i < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i+1]
		}
	}
	return nil
}

// TestPrometheusRule holds that Kubernetes has the alerts that are tested, word by word.
func TestPrometheusRule(t *testing.T) {
	const name = "deploy/kubernetes/base/prometheusrule.yaml"
	text, rules := deployed(t, name), deployed(t, "deploy/prometheus/rules.yml")
	head, _, found := strings.Cut(text, "  groups:\n")
	if !found {
		t.Fatalf("%s has no groups", name)
	}
	_, groups, _ := strings.Cut(rules, "\ngroups:\n")
	indented := regexp.MustCompile(`(?m)^(.)`).ReplaceAllString("groups:\n"+groups, "  $1")
	if *update {
		if err := os.WriteFile(name, []byte(head+indented), 0o644); err != nil {
			t.Fatal(err)
		}
		text = head + indented
	}
	if diff := cmp.Diff(head+indented, text); diff != "" {
		t.Errorf("run `go test -run TestPrometheusRule . -update` (-deploy/prometheus/rules.yml +Kubernetes):\n%s", diff)
	}
	var want, got struct{ Groups any }
	if err := yaml.Unmarshal([]byte(rules), &want); err != nil {
		t.Fatal(err)
	}
	got.Groups = find[any](t, name, "PrometheusRule", "spec", "groups")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("it is read otherwise (-deploy/prometheus/rules.yml +Kubernetes):\n%s", diff)
	}
}

// TestKubernetes holds what a cluster that enforces the profile `restricted` asks for, and that ports, probes and folders are those
// of the Caddyfiles and the image.
func TestKubernetes(t *testing.T) {
	const base = "deploy/kubernetes/base/caddy.yaml"
	type container struct {
		Name, Image string
		Ports       []struct {
			Name          string
			ContainerPort int `yaml:"containerPort"`
		}
		Env             []struct{ Name, Value string }
		SecurityContext map[string]any `yaml:"securityContext"`
		Resources       struct{ Requests, Limits map[string]string }
		VolumeMounts    []struct {
			Name      string
			MountPath string `yaml:"mountPath"`
			SubPath   string `yaml:"subPath"`
		} `yaml:"volumeMounts"`
		Liveness struct {
			HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
		} `yaml:"livenessProbe"`
		Readiness struct {
			HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
		} `yaml:"readinessProbe"`
	}
	containers := func(name string) []container {
		return find[[]container](t, name, "Deployment", "spec", "template", "spec", "containers")
	}
	for _, name := range []string{base, "deploy/kubernetes/overlays/sidecar/application.yaml"} {
		for _, c := range containers(name) {
			sc := c.SecurityContext
			if sc["allowPrivilegeEscalation"] != false || sc["readOnlyRootFilesystem"] != true ||
				!cmp.Equal(sc["capabilities"], map[string]any{"drop": []any{"ALL"}}) || sc["runAsUser"] == nil || sc["runAsUser"] == 0 {
				t.Errorf("%s: the container %s is not restricted: %v", name, c.Name, sc)
			}
			if c.Resources.Requests["cpu"] == "" || c.Resources.Limits["memory"] == "" {
				t.Errorf("%s: the container %s has no resources", name, c.Name)
			}
		}
	}
	c := containers(base)[0]
	if sc := c.SecurityContext; sc["runAsNonRoot"] != true || !cmp.Equal(sc["seccompProfile"], map[string]any{"type": "RuntimeDefault"}) ||
		!strings.Contains(deployed(t, "Dockerfile"), "\nUSER "+strconv.Itoa(sc["runAsUser"].(int))+":") {
		t.Errorf("the container is not restricted, or runs as somebody else than in the image: %v", sc)
	}
	if c.Liveness.HTTPGet.Path != "/live" || c.Readiness.HTTPGet.Path != "/ready" {
		t.Error("the probes ask for something else than live and ready")
	}
	ports := map[string]int{}
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	mounts := map[string]bool{}
	for _, m := range c.VolumeMounts {
		mounts[m.MountPath] = true
		if m.SubPath != "" {
			t.Errorf("what is mounted at %s never changes", m.MountPath)
		}
	}
	for _, path := range []string{"/etc/caddy", "/run/secrets/ip-reputation", "/data", "/config", "/run/caddy"} {
		if !mounts[path] {
			t.Errorf("nothing is mounted at %s", path)
		}
	}
	if len(c.Env) != 1 || c.Env[0].Name != "CADDY_ADMIN" || c.Env[0].Value != "unix//run/caddy/admin.sock" {
		t.Error("what is beside Caddy in a pod can reach its admin API")
	}
	for _, overlay := range []string{"gateway", "sidecar"} {
		dir := "deploy/kubernetes/overlays/" + overlay + "/"
		text := deployed(t, dir+"Caddyfile")
		for name, site := range map[string]string{"caddy-http": `(?m)^(http://[\w.]+)?:%d \{$`, "caddy-health": `(?m)^http://:%d \{\n\tip_reputation_health /live live\n\tip_reputation_health /ready ready$`, "caddy-metrics": `(?m)^http://:%d \{\n\tmetrics$`} {
			if !regexp.MustCompile(strings.Replace(site, "%d", strconv.Itoa(ports[name]), 1)).MatchString(text) {
				t.Errorf("%s: no site listens on %d, the port %s", overlay, ports[name], name)
			}
		}
		kustomization := deployed(t, dir+"kustomization.yaml")
		for _, secret := range regexp.MustCompile(`/run/secrets/ip-reputation/(\w+)`).FindAllStringSubmatch(regexp.MustCompile(`(?m)^\s*#.*$`).ReplaceAllString(text, ""), -1) {
			if !strings.Contains(kustomization, "- secrets/"+secret[1]+"\n") {
				t.Errorf("%s: nobody makes the secret %s", overlay, secret[1])
			}
		}
		if policy := deployed(t, dir+"networkpolicy.yaml"); strings.Contains(policy, "port: 3000") && overlay == "sidecar" || !strings.Contains(policy, "port: caddy-http") {
			t.Errorf("%s: the application can be reached past Caddy, or Caddy cannot", overlay)
		}
	}
	if !strings.Contains(deployed(t, ".gitignore"), "/deploy/kubernetes/overlays/*/secrets/\n") {
		t.Error("secrets would be committed")
	}
}

// TestKustomize builds the overlays, where there is a kubectl.
func TestKustomize(t *testing.T) {
	if _, err := exec.LookPath("kubectl"); err != nil {
		t.Skip("there is no kubectl")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("deploy/kubernetes")); err != nil {
		t.Fatal(err)
	}
	for overlay, kinds := range map[string][]string{
		"gateway": {
			"ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Namespace", "NetworkPolicy", "PodDisruptionBudget", "PrometheusRule",
			"Secret", "Service", "Service", "ServiceAccount", "ServiceMonitor",
		},
		"sidecar": {
			"ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "PrometheusRule", "Secret", "Service", "Service", "ServiceMonitor",
		},
	} {
		secrets := filepath.Join(dir, "overlays", overlay, "secrets")
		for _, name := range []string{"redis_password", "database_url"} {
			if err := os.MkdirAll(secrets, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(secrets, name), []byte("made up"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.Command("kubectl", "kustomize", filepath.Join(dir, "overlays", overlay)).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", overlay, err, out)
			continue
		}
		var got []string
		for _, m := range regexp.MustCompile(`(?m)^kind: (\w+)$`).FindAllSubmatch(out, -1) {
			got = append(got, string(m[1]))
		}
		if slices.Sort(got); !slices.Equal(got, kinds) {
			t.Errorf("%s has %v, want %v", overlay, got, kinds)
		}
		if images := regexp.MustCompile(`(?m)image: \S*?(:[\d.]+)?$`).FindAllSubmatch(out, -1); len(images) == 0 ||
			slices.ContainsFunc(images, func(m [][]byte) bool { return m[1] == nil }) {
			t.Errorf("%s: an image has no version", overlay)
		}
	}
}

// TestUnit holds what protects the service, where systemd is there by its own judgement.
func TestUnit(t *testing.T) {
	const name = "deploy/systemd/caddy-ip-reputation.service"
	text := deployed(t, name)
	for _, want := range []string{
		"Type=notify", "NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "PrivateDevices=yes",
		"CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "SystemCallFilter=@system-service", "RestartPreventExitStatus=1",
		"MemoryDenyWriteExecute=yes", "StateDirectoryMode=0700", "UMask=0077",
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("the service lacks %s", want)
		}
	}
	if strings.Contains(text, "--environ") {
		t.Error("the environment, and what is secret in it, would be in the journal")
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Log("there is no systemd-analyze")
		return
	}
	unit := filepath.Join(t.TempDir(), filepath.Base(name))
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(text, "/usr/bin/caddy ", "/bin/true ")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
