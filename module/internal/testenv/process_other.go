//go:build !linux

package testenv

import "syscall"

// dieWithUs does nothing: only Linux can do that.
func dieWithUs() *syscall.SysProcAttr { return nil }
