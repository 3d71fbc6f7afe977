package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

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
			if strings.Contains(string(text), "pull_request_target") {
				t.Error("pull_request_target runs what strangers write with the rights of the repository")
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
					if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != "false" {
						t.Errorf("%s leaves the token in .git/config", name)
					}
				}
			}
		})
	}
}

// TestOnlyReleasesWrite holds that nothing which runs for a pull request may change anything but the list of findings.
func TestOnlyReleasesWrite(t *testing.T) {
	files, err := filepath.Glob(".github/workflows/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, right := range regexp.MustCompile(`(?m)^ *([\w-]+): write\b`).FindAllStringSubmatch(string(text), -1) {
			if filepath.Base(file) != "release.yml" && right[1] != "security-events" {
				t.Errorf("%s may write %s", file, right[1])
			}
		}
	}
}
