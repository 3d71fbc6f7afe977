package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// workflow is what the test reads of a workflow of GitHub Actions. That it is a valid one is what actionlint says.
type workflow struct {
	Permissions *map[string]string
	Jobs        map[string]struct {
		Permissions    *map[string]string
		TimeoutMinutes int `yaml:"timeout-minutes"`
		Uses           string
		Container      struct{ Image string }
		Steps          []struct {
			Uses, Run string
			With      map[string]string
		}
	}
}

// TestWorkflows holds what keeps a stranger's pull request, or an action that was taken over, from doing harm.
func TestWorkflows(t *testing.T) {
	files, err := filepath.Glob(".github/workflows/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no workflows", err)
	}
	imagePinned := pinned // of an image, not of an action
	pinned := regexp.MustCompile(`(?m)^[ -]*uses: (\./.+|[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+)$`)
	uses := regexp.MustCompile(`(?m)^[ -]*uses:`)
	versions := map[string]string{}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var w workflow
			if err := yaml.Unmarshal(text, &w); err != nil {
				t.Fatal(err)
			}
			if w.Permissions == nil || len(*w.Permissions) != 0 {
				t.Error("a job that says nothing must have no rights: permissions: {}")
			}
			if all, good := uses.FindAll(text, -1), pinned.FindAll(text, -1); len(all) != len(good) {
				t.Errorf("of %d actions, %d are pinned by hash with the version behind it: tags can be moved", len(all), len(good))
			}
			for _, use := range pinned.FindAllStringSubmatch(string(text), -1) {
				action, version, _ := strings.Cut(use[1], "@")
				if versions[action] != "" && versions[action] != version {
					t.Errorf("%s is used in two versions", action)
				}
				versions[action] = version
			}
			for name, job := range w.Jobs {
				if job.Permissions == nil {
					t.Errorf("%s does not say what it may do", name)
				}
				if job.Uses == "" && job.TimeoutMinutes == 0 {
					t.Errorf("%s may run for six hours", name)
				}
				if job.Container.Image != "" && !strings.Contains(job.Container.Image, "@sha256:") {
					t.Errorf("%s runs in an image that can be replaced", name)
				}
				for _, step := range job.Steps {
					if strings.Contains(step.Run, "${{") {
						t.Errorf("%s has an expression in a script, which runs what it says: hand it over in env", name)
					}
					if image := strings.TrimPrefix(step.With["driver-opts"], "image="); strings.HasPrefix(step.Uses, "docker/setup-buildx-action@") && !imagePinned.MatchString(image) {
						t.Errorf("%s builds with a BuildKit that can be replaced: %q", name, image)
					}
					if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != "false" {
						t.Errorf("%s leaves the token in .git/config", name)
					}
				}
			}
		})
	}
}

// faults are what a workflow may do that it should not: it is named by its file.
func faults(name, text string) (found []string) {
	var w struct {
		On   yaml.Node
		Jobs map[string]struct{ Permissions yaml.Node }
	}
	if err := yaml.Unmarshal([]byte(text), &w); err != nil {
		return []string{err.Error()}
	}
	var events []string
	switch w.On.Kind {
	case yaml.ScalarNode:
		events = []string{w.On.Value}
	case yaml.SequenceNode:
		for _, event := range w.On.Content {
			events = append(events, event.Value)
		}
	case yaml.MappingNode:
		for i := 0; i < len(w.On.Content); i += 2 {
			events = append(events, w.On.Content[i].Value)
		}
	}
	if len(events) == 0 {
		found = append(found, "it is not said when it runs")
	}
	for _, event := range events {
		switch event {
		case "push", "pull_request", "schedule", "workflow_dispatch", "workflow_call":
		default: // pull_request_target, workflow_run, issue_comment and others
			found = append(found, event+" runs what strangers cause with the rights of the repository")
		}
	}
	for job, j := range w.Jobs {
		var rights map[string]string
		if err := j.Permissions.Decode(&rights); err != nil { // read-all, write-all
			found = append(found, job+" does not name its rights: "+j.Permissions.Value)
			continue
		}
		for right, how := range rights {
			if how != "read" && how != "none" && name != "release.yml" && right != "security-events" {
				found = append(found, job+" may "+how+" "+right)
			}
		}
	}
	return found
}

// TestOnlyReleasesWrite holds that nothing which runs for a pull request may change anything but the list of findings.
func TestOnlyReleasesWrite(t *testing.T) {
	files, err := filepath.Glob(".github/workflows/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		for _, fault := range faults(filepath.Base(file), deployed(t, file)) {
			t.Errorf("%s: %s", file, fault)
		}
	}

	// That it would be seen.
	text := deployed(t, ".github/workflows/test.yml")
	for _, bad := range [][2]string{
		{"      contents: read\n", "      contents: write\n"},
		{"      contents: read\n", "      contents: 'write'\n"},
		{"    permissions:\n      contents: read\n", "    permissions: {contents: write}\n"},
		{"    permissions:\n      contents: read\n", "    permissions: {contents: read, packages: write}\n"},
		{"    permissions:\n      contents: read\n", "    permissions: write-all\n"},
		{"  pull_request:\n", "  pull_request_target:\n"},
		{"  pull_request:\n", "  workflow_run: {workflows: [codeql]}\n"},
		{"  pull_request:\n", "  issue_comment:\n"},
	} {
		changed := strings.Replace(text, bad[0], bad[1], 1)
		if changed == text || len(faults("test.yml", changed)) != 1 {
			t.Errorf("with %q: %q", bad[1], faults("test.yml", changed))
		}
	}
}

// TestPublishedLast holds that neither the release nor a tag of the image is public before everything is there.
func TestPublishedLast(t *testing.T) {
	var w struct {
		Jobs map[string]struct {
			Needs       any
			Environment string
			Steps       []struct {
				Uses, Run string
				With      map[string]string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(deployed(t, ".github/workflows/release.yml")), &w); err != nil {
		t.Fatal(err)
	}
	builds, tags := 0, 0
	for name, job := range w.Jobs {
		for _, step := range job.Steps {
			if strings.HasPrefix(step.Uses, "docker/build-push-action@") {
				builds++
				if step.With["tags"] != "" || step.With["push"] != "" || !strings.Contains(step.With["outputs"], ",push-by-digest=true,name-canonical=true,push=true") {
					t.Errorf("%s pushes the image with its tags", name)
				}
			}
			if strings.Contains(step.Run, "imagetools create") || strings.Contains(step.Run, "--draft=false") {
				tags++
				if name != "publish" {
					t.Errorf("%s publishes", name)
				}
			}
		}
		if name != "test" && job.Environment != "release" {
			t.Errorf("nobody approves %s", name)
		}
	}
	if builds != 1 || tags != 2 || !cmp.Equal(w.Jobs["publish"].Needs, []any{"packages", "image"}) {
		t.Errorf("%d images, %d publications after %v", builds, tags, w.Jobs["publish"].Needs)
	}
	if !strings.Contains(deployed(t, ".goreleaser.yaml"), "\n  draft: true\n") {
		t.Error("the release is no draft")
	}
}
