//go:build !linux

package testenv

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// killWithParent does nothing: only Linux supports it.
func killWithParent() *syscall.SysProcAttr { return nil }

// children returns the child processes of a process.
func children(parent int) []int {
	out, _ := exec.CommandContext(context.Background(), "pgrep", "-P", strconv.Itoa(parent)).Output() //nolint:gosec // it fails if there are none
	var pids []int
	for field := range strings.FieldsSeq(string(out)) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
