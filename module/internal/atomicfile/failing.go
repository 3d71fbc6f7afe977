package atomicfile

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Failure is a file whose last Write failed.
type Failure struct {
	Path  string
	Since time.Time // of the first failure in a row
	Err   error

	last time.Time
}

// forgotten is how long after its last Write a file is none of Failing: nobody writes it any more.
const forgotten = 25 * time.Hour

var failing struct {
	mu    sync.Mutex
	files map[string]Failure
}

// Failing returns the files in and below a folder whose last Write failed, the earliest first.
func Failing(dir string) []Failure { return failingAt(dir, time.Now()) }

func failingAt(dir string, now time.Time) (list []Failure) {
	failing.mu.Lock()
	defer failing.mu.Unlock()
	for path, f := range failing.files {
		if now.Sub(f.last) > forgotten {
			delete(failing.files, path)
		} else if strings.HasPrefix(path, filepath.Clean(dir)+string(filepath.Separator)) {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b Failure) int { return a.Since.Compare(b.Since) })
	return list
}

// remember keeps the outcome of a Write.
func remember(path string, err error) {
	path, now := filepath.Clean(path), time.Now()
	failing.mu.Lock()
	defer failing.mu.Unlock()
	if err == nil {
		delete(failing.files, path)
		return
	}
	if failing.files == nil {
		failing.files = make(map[string]Failure)
	}
	f, ok := failing.files[path]
	if !ok {
		f = Failure{Path: path, Since: now}
	}
	f.Err, f.last = err, now
	failing.files[path] = f
}
