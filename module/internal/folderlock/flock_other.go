//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package folderlock

import (
	"errors"
	"os"
)

// flock locks nothing on this system: the beat alone decides.
func flock(*os.File) error { return errors.ErrUnsupported }
