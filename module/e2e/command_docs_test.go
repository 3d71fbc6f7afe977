package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestManPages proves that what packages are made of, the man pages and completions that Caddy writes, has our commands in it.
func TestManPages(t *testing.T) {
	dir, c := t.TempDir(), newConfig(t)
	if out, err := c.caddyCommand(t, "manpage", "--directory", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	completion, err := c.caddyCommand(t, "completion", "bash").Output()
	if err != nil {
		t.Fatal(err)
	}
	parent, _, err := command().Find([]string{"ip-reputation"})
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range parent.Commands() {
		page, err := os.ReadFile(filepath.Join(dir, "caddy-ip-reputation-"+cmd.Name()+".8"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, want := range []string{cmd.Short, strings.TrimSpace(strings.SplitN(cmd.Example, "\n", 2)[0])} {
			if !strings.Contains(strings.ReplaceAll(string(page), `\-`, "-"), want) {
				t.Errorf("the man page of %s does not say %q", cmd.Name(), want)
			}
		}
		if !strings.Contains(string(completion), `commands+=("`+cmd.Name()+`")`) {
			t.Errorf("%s is not completed", cmd.Name())
		}
	}

	// The other shells ask the program itself, each time.
	out, err := c.caddyCommand(t, "__completeNoDesc", "ip-reputation", "che").Output()
	if err != nil || !strings.HasPrefix(string(out), "check\n") {
		t.Errorf("%q %v", out, err)
	}
}
