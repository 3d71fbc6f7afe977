//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package recorder

import (
	"errors"
	"os"
	"syscall"
)

// lock locks a file until it is closed or the process ends. The file must be open for writing: NFS
// locks no other. It returns errLocked when another process holds the lock, and false where files
// cannot be locked, as on some network file systems.
func lock(f *os.File) (locked bool, err error) {
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, syscall.EWOULDBLOCK), errors.Is(err, syscall.EACCES): // NFS may say either
		return false, errLocked
	}
	for _, unable := range []syscall.Errno{syscall.ENOTSUP, syscall.EOPNOTSUPP, syscall.ENOSYS, syscall.ENOLCK, syscall.EINVAL} {
		if errors.Is(err, unable) {
			return false, nil
		}
	}
	return false, err
}
