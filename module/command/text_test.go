package command

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestShellWord proves that a shell reads what was written, whatever that is.
func TestShellWord(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no shell here")
	}
	var words []string
	for r := rune(' '); r < 0x7f; r++ {
		words = append(words, "a"+string(r)+"b", string(r))
	}
	command := "printf '%s\\n'"
	for _, word := range words {
		command += " " + shellWord(word)
	}
	got, err := exec.CommandContext(t.Context(), shell, "-c", command).Output()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Join(words, "\n")+"\n", string(got)); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	if got := shellWord(""); got != "''" {
		t.Errorf("nothing is written as %q", got)
	}
}
