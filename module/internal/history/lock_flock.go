//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package history

import (
	"errors"
	"os"
	"syscall"
)

// lock locks a file until it is closed or the process ends. It returns errLocked when another
// process holds the lock, and false where files cannot be locked, as on some network file systems.
func lock(f *os.File) (locked bool, err error) {
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, errLocked
	}
	return err == nil, nil
}
