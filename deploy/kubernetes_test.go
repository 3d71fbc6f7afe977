package deploy_test

import (
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

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

var update = flag.Bool("update", false, "copy the alerts into deploy/kubernetes")

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
		t.Errorf("run `go test ./deploy -run TestPrometheusRule -update` (-deploy/prometheus/rules.yml +Kubernetes):\n%s", diff)
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
