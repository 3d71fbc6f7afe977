package recorder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// Suffixes of file names. `<id>.journal` is being written. `<id>.adopting` is the journal of
// another process, being adopted. `<time>-<id>.batch` is ready to be sent. The time is in Unix
// nanoseconds, with a fixed number of digits.
const (
	journalSuffix  = ".journal"
	adoptingSuffix = ".adopting"
	batchSuffix    = ".batch"
)

var (
	errGone   = errors.New("the journal of the history is not there any more")
	errBroken = errors.New("the journal of the history ends within a line")
	errLocked = errors.New("another process has the file")
)

// machine names this machine and its start: locks of its processes are certain to be seen here.
var machine = sync.OnceValue(func() string {
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil && len(id) < maxText {
		return plain(strings.TrimSpace(string(id)), maxText)
	}
	name, _ := os.Hostname() // none: any machine
	return plain(name, maxText)
})

// journal is the file of the entries that are in no batch yet, so that they survive the end of the
// process. The file is created by the first write. While the process runs, the file is locked, on
// systems that can.
type journal struct {
	id     history.ID
	path   string
	create func(path string) (appendable, bool, error)

	file   appendable // nil: not created yet
	info   fs.FileInfo
	locked bool
	broken bool // the last line is incomplete, and truncating failed
	size   int64

	version int // of the header; 0: there is none yet
}

// appendable is a file that is appended to.
type appendable interface {
	Write([]byte) (int, error)
	Truncate(size int64) error
	Stat() (fs.FileInfo, error)
	Close() error
}

// createFile creates a file, and reports whether it is locked.
func createFile(path string) (appendable, bool, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, false, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, false, err
	}
	locked, err := lock(f)
	if err != nil {
		_ = f.Close()
		return nil, false, err
	}
	return f, locked, nil
}

// append writes all the lines, or none. version is that of the format that they need: a header stands before the first
// lines that need it, so that an earlier version can read the file as long as it holds nothing else.
func (j *journal) append(lines []byte, version int) error {
	if err := j.open(); err != nil {
		return err
	}
	if j.broken {
		return errBroken
	}
	if info, err := os.Stat(j.path); errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(info, j.info) {
		return errGone
	}
	if version > j.version {
		lines = append(appendLine(nil, line{Header: &header{Version: version, ID: j.id.String(), Machine: machine()}}), lines...)
	}
	n, err := j.file.Write(lines)
	if err == nil {
		j.size, j.version = j.size+int64(n), max(version, j.version)
		return nil
	}
	j.broken = j.file.Truncate(j.size) != nil
	return err
}

func (j *journal) open() error {
	if j.file != nil {
		return nil
	}
	file, locked, err := j.create(j.path)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		_ = os.Remove(j.path) // still empty
		return err
	}
	j.file, j.locked, j.info = file, locked, info
	return nil
}

// close leaves the file on disk, for the next process to adopt.
func (j *journal) close() {
	if j.file != nil {
		_ = j.file.Close()
	}
}

// remove removes the file, unless another process has replaced it.
func (j *journal) remove() {
	if j.file == nil {
		return
	}
	_ = j.file.Close()
	if info, err := os.Stat(j.path); err == nil && os.SameFile(info, j.info) {
		_ = os.Remove(j.path)
	}
}
