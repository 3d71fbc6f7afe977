package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// killWithParent makes the system kill a process when the test binary ends, also
// after a panic or go test's timeout.
func killWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// children returns the child processes of a process.
func children(parent int) []int {
	var pids []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well-formed
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil { // it has ended
			continue
		}
		// 7 (any name) S 1 …
		number, rest, _ := strings.Cut(string(text), " ")
		var state string
		var pid, above int
		_, err = fmt.Sscan(rest[strings.LastIndexByte(rest, ')')+1:], &state, &above)
		if err != nil || above != parent {
			continue
		}
		if _, err := fmt.Sscan(number, &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
