package testenv

import "syscall"

// dieWithUs makes the system kill a process when we end without having done it: after a panic, or go test's timeout.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
