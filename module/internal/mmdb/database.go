package mmdb

import (
	"context"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Spec is which file, and how it is read.
type Spec struct {
	// Name tells the database from others, in metrics and elsewhere.
	Name string

	// File is the path of the file.
	File string

	// Paths say where facts are, for files whose fields are not known.
	Paths []Path

	// MaxAge is how old the file may become until somebody should look; 0: as old as it likes.
	MaxAge time.Duration
}

// Database is the facts in one file. It has none until Load or Look has read it. When the file is
// replaced by one that cannot be read, the facts of the one before stay.
type Database struct {
	spec    Spec
	current atomic.Pointer[contents]

	reading sync.Mutex  // held while the file is looked at and read
	seen    fs.FileInfo // at the last look; nil: there was none
	tried   fs.FileInfo // when it was read last

	mu     sync.Mutex
	failed error     // of the last attempt; nil: the contents are those of the file
	loaded time.Time // when the contents were read
	closed bool
}

// New returns the database of a file, which it does not touch.
func New(spec Spec) *Database { return &Database{spec: spec} }

// Status is the state of a database.
type Status struct {
	Name string `json:"name"`
	File string `json:"file"`

	// Loaded is whether there are facts. Type, Built, Networks, Facts and Size describe them.
	Loaded   bool      `json:"loaded"`
	Type     string    `json:"type,omitempty"` // as the file says
	Built    time.Time `json:"built,omitzero"` // when the file was made, missing if it does not say
	Networks int       `json:"networks"`
	Facts    []string  `json:"facts,omitempty"`
	Size     int       `json:"size"` // in memory, in bytes

	// MaxAge is that of the Spec.
	MaxAge time.Duration `json:"-"`

	// LastLoad is when the facts were read.
	LastLoad time.Time `json:"last_load,omitzero"`

	// Problem is why the present file is not in force, missing if it is.
	Problem string `json:"problem,omitempty"`
}

// Old reports whether the facts are older than they may be.
func (s *Status) Old(now time.Time) bool {
	return s.MaxAge > 0 && !s.Built.IsZero() && now.Sub(s.Built) > s.MaxAge
}

// Status returns the state.
func (d *Database) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Status{Name: d.spec.Name, File: d.spec.File, MaxAge: d.spec.MaxAge, LastLoad: d.loaded}
	if c := d.current.Load(); c != nil {
		s.Loaded, s.Type, s.Built, s.Networks, s.Facts = true, c.kind, c.built, c.networks, wordsOf(c.says)
		s.Size = c.index.Size() + len(c.entries)*entrySize + len(c.words)
	}
	if d.failed != nil {
		s.Problem = d.failed.Error()
	}
	return s
}

// wordsOf returns the words for what a database says.
func wordsOf(says reputation.Capabilities) (words []string) {
	if says.Country {
		words = append(words, factCountry)
	}
	if says.ASN {
		words = append(words, factASN)
	}
	for _, k := range reputation.AllKinds() {
		if says.Natures.Has(k) {
			words = append(words, k.String())
		}
	}
	return words
}

// Load reads the file now, unless its contents are those that were read last, and returns why they
// are not in force.
func (d *Database) Load(ctx context.Context, now time.Time) error {
	d.reading.Lock()
	defer d.reading.Unlock()
	info, err := os.Stat(d.spec.File)
	if err != nil {
		d.missing(err)
		return err
	}
	d.seen = info
	d.load(ctx, info, now)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// Look reads the file if it is another one than before, and has not changed since the last look: it
// may be in the middle of being written. It reports whether the state has changed.
func (d *Database) Look(ctx context.Context, now time.Time) (news bool) {
	d.reading.Lock()
	defer d.reading.Unlock()
	info, err := os.Stat(d.spec.File)
	if err != nil {
		return d.missing(err)
	}
	before := d.seen
	d.seen = info
	return same(before, info) && d.load(ctx, info, now)
}

// missing notes that there is no file. One that comes back is read.
func (d *Database) missing(err error) (news bool) {
	d.seen, d.tried = nil, nil
	return d.outcome(nil, err, time.Time{})
}

// load reads the file unless it has been. It reports whether the state has changed.
func (d *Database) load(ctx context.Context, info fs.FileInfo, now time.Time) (news bool) {
	if same(d.tried, info) {
		return false
	}
	c, tried, err := read(ctx, d.spec.File, d.spec.Paths)
	if ctx.Err() != nil {
		return false // nobody waits for it any more
	}
	d.tried = tried
	return d.outcome(c, err, now)
}

// outcome takes new contents over, or notes why there are none. It reports whether that is news.
func (d *Database) outcome(c *contents, err error, now time.Time) (news bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.failed
	d.failed = err
	switch {
	case d.closed:
		return false
	case err != nil:
		return before == nil || before.Error() != err.Error()
	}
	d.current.Store(c)
	d.loaded = now
	return true
}

// Close lets go of the facts. Requests that outlive their configuration know none.
func (d *Database) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.current.Store(nil)
	return nil
}

// same reports whether two looks saw the same file with the same contents.
func same(a, b fs.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
