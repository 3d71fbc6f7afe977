//go:build !linux

package testenv

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// dieWithUs does nothing: only Linux can do that.
func dieWithUs() *syscall.SysProcAttr { return nil }

// children returns the processes that a process has started.
func children(parent int) []int {
	out, _ := exec.CommandContext(context.Background(), "pgrep", "-P", strconv.Itoa(parent)).Output() //nolint:gosec // it fails where there are none
	var pids []int
	for field := range strings.FieldsSeq(string(out)) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
