package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/atomicfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/regularfile"
)

const (
	saveDelay   = time.Second
	maxFileSize = 1 << 20
	fileVersion = 1
)

// ledgerFile is the layout of the file: counts by account and by the period's word.
type ledgerFile struct {
	Version  int                              `json:"version"`
	Instance string                           `json:"instance,omitempty"`
	Accounts map[string]map[string]savedCount `json:"accounts"`
}

// savedCount is a saved counter. The fields of a Store are omitted if there was none.
type savedCount struct {
	Start   time.Time `json:"start"`
	Used    int       `json:"used"`
	Owed    int       `json:"owed,omitempty"`
	Settled int       `json:"told,omitempty"`
	Epoch   string    `json:"epoch,omitempty"`
	Changes int64     `json:"changes,omitempty"`
}

// ledgerState is the contents of a file.
type ledgerState struct {
	instance string
	accounts map[string]account
}

// OpenLocal returns a ledger that is saved to the file at path, or held in memory only when path is
// empty. Counts of windows that are over are dropped. A file that cannot be read or decoded is
// logged and then ignored, because the server must start. The service itself throttles if its quota
// is exceeded.
func OpenLocal(path string, log *slog.Logger) *Local {
	l := &Local{path: path, log: log, accounts: make(map[string]account)}
	if path == "" {
		return l
	}
	r, err := readFile(path)
	switch {
	case err == nil:
		l.instance, l.accounts = r.instance, current(r.accounts, time.Now())
	case !errors.Is(err, fs.ErrNotExist):
		log.Warn("quotas start from zero: the file that remembers them is of no use", "error", err)
	}
	return l
}

// Close saves unsaved counts. The ledger goes on counting in memory.
func (l *Local) Close() error {
	l.mu.Lock()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
	l.mu.Unlock()
	return l.save()
}

// saveSoon schedules a save within a second. It is called with mu held.
func (l *Local) saveSoon() {
	if l.path == "" {
		return
	}
	l.unsaved = true
	if l.closed || l.detached || l.timer != nil {
		return
	}
	l.timer = time.AfterFunc(saveDelay, func() {
		defer func() {
			if v := recover(); v != nil {
				l.log.Error("saving the quotas panicked", "panic", v)
			}
		}()
		if err := l.save(); err != nil && l.logged.Allow("disk", time.Now()) {
			l.log.Error("a restart would forget what was spent of the quotas", "error", err)
		}
	})
}

// save writes the file if a count has changed. After a failure, the next Take or Close tries again.
func (l *Local) save() error {
	l.saving.Lock()
	defer l.saving.Unlock()
	l.mu.Lock()
	l.timer = nil
	if !l.unsaved || l.detached {
		l.mu.Unlock()
		return nil
	}
	l.unsaved = false
	r := ledgerState{l.instance, maps.Clone(l.accounts)}
	l.mu.Unlock()
	err := writeFile(l.path, r)
	if err != nil {
		l.mu.Lock()
		l.unsaved = true
		l.mu.Unlock()
	}
	return err
}

// readFile reads the counts from the file at path.
func readFile(path string) (ledgerState, error) {
	data, err := regularfile.Read(path, maxFileSize)
	if err != nil {
		return ledgerState{}, fmt.Errorf("read the quota file, which is replaced at the next call: %w", err)
	}
	r, err := decode(data)
	if err != nil {
		return ledgerState{}, fmt.Errorf("quota file %s is damaged and is replaced at the next call: %w", path, err)
	}
	return r, nil
}

// writeFile replaces the file at path.
func writeFile(path string, r ledgerState) error {
	data, err := encode(r)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(path, data); err != nil {
		return fmt.Errorf("save the quotas: %w", err)
	}
	return nil
}

// encode returns the counts in the form that decode reads.
func encode(r ledgerState) ([]byte, error) {
	file := ledgerFile{
		Version: fileVersion, Instance: r.instance, Accounts: make(map[string]map[string]savedCount, len(r.accounts)),
	}
	for name, acc := range r.accounts {
		counts := make(map[string]savedCount)
		for p, c := range acc {
			if !c.empty() {
				counts[Period(p).String()] = savedCount{
					Start: c.start, Used: c.used, Owed: c.owed, Settled: c.settled,
					Epoch: c.epoch, Changes: c.version,
				}
			}
		}
		if len(counts) > 0 {
			file.Accounts[name] = counts
		}
	}
	data, err := json.MarshalIndent(file, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("encode the quotas: %w", err)
	}
	return append(data, '\n'), nil
}

// decode reads the counts that encode wrote. It rejects the whole file for one invalid value: a
// part of the counts would look like a smaller use of the quota.
func decode(data []byte) (ledgerState, error) {
	var file ledgerFile
	if err := json.Unmarshal(data, &file); err != nil {
		return ledgerState{}, fmt.Errorf("decode the quotas: %w", err)
	}
	if file.Version != fileVersion {
		return ledgerState{}, fmt.Errorf("version %d is not known, only %d", file.Version, fileVersion)
	}
	if file.Instance != "" && !validName(file.Instance) {
		return ledgerState{}, fmt.Errorf(
			"the name of the instance has %d bytes, more than %d", len(file.Instance), maxNameSize)
	}
	accounts := make(map[string]account, len(file.Accounts))
	for name, counts := range file.Accounts {
		var acc account
		for word, c := range counts {
			p, err := parsePeriod(word)
			if err != nil {
				return ledgerState{}, fmt.Errorf("account %q: %w", name, err)
			}
			if err := c.check(p, word); err != nil {
				return ledgerState{}, fmt.Errorf("account %q: %w", name, err)
			}
			acc[p] = counter{
				start: c.Start.UTC(), used: c.Used, owed: c.Owed, settled: c.Settled,
				epoch: c.Epoch, version: c.Changes,
			}
		}
		accounts[name] = acc
	}
	return ledgerState{file.Instance, accounts}, nil
}

// check returns an error if a saved counter is not valid.
func (c savedCount) check(p Period, word string) error {
	if c.Used < 0 || c.Used > MaxLimit || !c.Start.Equal(p.Start(c.Start)) {
		return fmt.Errorf("no %s has %d calls from %s", word, c.Used, c.Start)
	}
	if c.Settled < 0 || c.Settled > c.Owed || c.Owed > MaxLimit {
		return fmt.Errorf("of %d calls in a %s, %d cannot be in the store", c.Owed, word, c.Settled)
	}
	if c.Epoch == "" {
		if c.Settled != 0 || c.Changes != 0 {
			return fmt.Errorf("a %s has an answer of the store that is none: %d calls, version %d",
				word, c.Settled, c.Changes)
		}
		return nil
	}
	if !validName(c.Epoch) || c.Changes < 1 {
		return fmt.Errorf("a %s has an answer of the store that cannot be: version %d of an epoch of %d bytes",
			word, c.Changes, len(c.Epoch))
	}
	return nil
}

// current returns the accounts without the counts of windows that are over at now.
func current(accounts map[string]account, now time.Time) map[string]account {
	live := make(map[string]account, len(accounts))
	for name, acc := range accounts {
		for p := range acc {
			acc[p] = acc[p].at(Period(p), now)
		}
		if !acc.empty() {
			live[name] = acc
		}
	}
	return live
}
