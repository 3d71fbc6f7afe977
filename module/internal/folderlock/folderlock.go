// Package folderlock lets one process at a time write in a folder that several may share.
//
// The owner holds a lock (flock) on a file in the folder, and a beat in it: a line that changes
// every few seconds. The lock decides among the processes of one machine, and on network file
// systems that pass it on: when its owner dies, the next process has it at once. Some network file
// systems refuse locks, or grant them on every machine. The beat is for those: a process on another
// machine takes over only when the line has not changed for a minute, and an owner that finds
// another's line releases the folder. No clocks are compared.
package folderlock

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
)

const (
	// FileName is the name of the file in the folder.
	FileName = "lock"

	beatEvery = 20 * time.Second // of an owner
	silence   = time.Minute      // without a beat, after which the owner is gone
	retry     = time.Second      // of the others

	maxLine = 1024
	maxFile = 1 << 20 // a file of others, which is read up to maxLine
)

// errInUse means that another process holds the lock.
var errInUse = errors.New("another process holds the lock")

// Owner is what the file says of the process that has the folder.
type Owner struct {
	ID   string `json:"id"` // random: process numbers repeat
	Host string `json:"host"`
	PID  int    `json:"pid"`
	Beat uint64 `json:"beat"`
}

// String names the process for operators.
func (o Owner) String() string {
	if o.ID == "" {
		return "an unknown process"
	}
	return fmt.Sprintf("process %d on %s", o.PID, o.Host)
}

// Status is whether this process has the folder.
type Status struct {
	Held  bool      // this process writes in the folder
	Since time.Time // when Held last changed, or the lock was started
	Owner Owner     // if not Held: the process that has it

	// Err is why the folder cannot be locked at all, as when it is not writable. This process then
	// counts as the owner, since nothing speaks of another one.
	Err error
}

// Lock is the lock of one folder for this process.
type Lock struct {
	path     string
	onChange func(Status)
	logger   *slog.Logger
	flock    func(*os.File) error // tests set it
	self     Owner

	file     *os.File // open while held
	distrust bool     // locks are granted to several machines
	seen     []byte   // the last line of another machine's process
	seenAt   time.Time

	mu      sync.Mutex
	status  Status
	started bool
	stop    chan struct{}
	done    chan struct{}
}

// New returns a lock of the folder, which does nothing before Start. onChange is called when Start
// finds out whether this process has the folder, and whenever that changes; not concurrently.
func New(dir string, logger *slog.Logger, onChange func(Status)) *Lock {
	host, _ := os.Hostname()
	return &Lock{
		path: filepath.Join(dir, FileName), onChange: onChange, logger: logger, flock: flock,
		self: Owner{ID: rand.Text(), Host: host, PID: os.Getpid()},
		stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// Start tries to take the folder. If another process has it, it tries again until Close. A second
// call does nothing.
func (l *Lock) Start() {
	l.mu.Lock()
	started := l.started
	l.started = true
	l.mu.Unlock()
	if started {
		return
	}
	l.set(l.take())
	go l.run()
}

// Status returns whether this process has the folder.
func (l *Lock) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// Close leaves the folder to the next process. It must be called once.
func (l *Lock) Close() error {
	l.mu.Lock()
	started := l.started
	l.started = true
	l.mu.Unlock()
	if !started {
		return nil
	}
	close(l.stop)
	<-l.done
	if l.file == nil {
		return nil
	}
	err := l.file.Truncate(0) // the next one need not wait for the beat
	return errors.Join(err, l.release())
}

func (l *Lock) run() {
	defer close(l.done)
	for {
		pause := retry
		if l.file != nil {
			pause = beatEvery
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			l.step()
		case <-l.stop:
			timer.Stop()
			return
		}
	}
}

// step beats, or tries to take the folder.
func (l *Lock) step() {
	defer func() {
		if r := recover(); r != nil {
			l.logger.Error("locking the data folder panicked; this is a bug", slog.Any("panic", r))
		}
	}()
	if l.file != nil && l.beat() {
		return
	}
	l.set(l.take())
}

// set tells of a change, and then shows it.
func (l *Lock) set(next Status) {
	before := l.Status() // only this goroutine changes it
	first := before.Since.IsZero()
	next.Since = before.Since
	if first || next.Held != before.Held {
		next.Since = time.Now()
	}
	if first || next.Held != before.Held || (next.Err == nil) != (before.Err == nil) {
		l.onChange(next)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status = next
}

// take makes this process the owner, if there is none.
func (l *Lock) take() Status {
	f, err := l.open()
	if err != nil {
		return Status{Held: true, Err: err}
	}
	lockErr := l.flock(f)
	line, owner, err := readLine(f)
	switch {
	case errors.Is(lockErr, errInUse), err == nil && !l.free(line, owner, lockErr == nil):
		_ = f.Close()
		return Status{Owner: owner}
	case err == nil:
		err = l.write(f)
	}
	if err != nil && lockErr != nil { // with a lock it has the folder, whatever it can write
		_ = f.Close()
		return Status{Held: true, Err: err}
	}
	l.file, l.seen = f, nil
	return Status{Held: true}
}

// open opens the file, for writing: on NFS only such a file can be locked.
func (l *Lock) open() (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", l.path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// free reports whether the process that wrote the line is gone.
func (l *Lock) free(line []byte, owner Owner, locked bool) bool {
	switch {
	case len(line) == 0 || owner.ID == l.self.ID:
		return true
	case locked && owner.Host == l.self.Host && !l.distrust:
		return true // on one machine, the lock ends with its process
	case !bytes.Equal(line, l.seen):
		l.seen, l.seenAt = line, time.Now()
		return false
	}
	return time.Since(l.seenAt) >= silence
}

// beat changes the line. It reports false when this process is not the owner any more.
func (l *Lock) beat() (held bool) {
	line, owner, err := l.current()
	switch {
	case errors.Is(err, fs.ErrNotExist): // the folder was removed: take it anew
		_ = l.release()
		return false
	case err == nil && len(line) > 0 && owner.ID != l.self.ID:
		l.distrust, l.seen, l.seenAt = true, line, time.Now()
		_ = l.release()
		return false
	}
	_ = l.write(l.file) // while the disk is full, the lock itself is held
	return true
}

// current reads the file by its name, for what other machines wrote in it.
func (l *Lock) current() (line []byte, owner Owner, err error) {
	f, _, err := regularfile.Open(l.path, maxFile) // a named pipe in its place would hold Close up
	if err != nil {
		return nil, owner, err
	}
	defer f.Close()
	return readLine(f)
}

// readLine reads the line of the owner, which may be half written.
func readLine(f *os.File) (line []byte, owner Owner, err error) {
	line, err = io.ReadAll(io.NewSectionReader(f, 0, maxLine))
	if json.Unmarshal(line, &owner) != nil {
		owner = Owner{}
	}
	return line, owner, err
}

func (l *Lock) write(f *os.File) error {
	l.self.Beat++
	line, err := json.Marshal(l.self)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if _, err := f.WriteAt(line, 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(line)))
}

func (l *Lock) release() error {
	err := l.file.Close() // which unlocks it
	l.file = nil
	return err
}
