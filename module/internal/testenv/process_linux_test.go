package testenv

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

const startsAServer = "TESTENV_STARTS_A_SERVER"

// TestServersDieWithUs kills a test that has a server, which leaves it no time to clean up.
func TestServersDieWithUs(t *testing.T) {
	if os.Getenv(startsAServer) != "" {
		fmt.Printf("pid %d\n", Redis(t).process.cmd.Process.Pid)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	redisServer(t) // skips the test where there is none
	child := exec.Command(os.Args[0], "-test.run=^TestServersDieWithUs$")
	child.Env = append(os.Environ(), startsAServer+"=1", "TMPDIR="+t.TempDir())
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	line, _ := bufio.NewReader(out).ReadString('\n')
	_, err = fmt.Sscanf(line, "pid %d", &pid)
	_ = child.Wait() // it was killed
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	await(t, nil, func() string {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if _, state, _ := strings.Cut(string(stat), ") "); err != nil || strings.HasPrefix(state, "Z") {
			return "" // gone, or but for being waited for
		}
		return fmt.Sprintf("the server lives: %s", stat)
	})
}
