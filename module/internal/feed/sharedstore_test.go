package feed

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// store is a Shared in memory, for tests with a clock of their own.
type store struct {
	mu     sync.Mutex
	away   bool
	lists  map[string]*storedList
	loaded int
}

type storedList struct {
	version   string
	text      []byte
	confirmed time.Time
	holder    string
	until     time.Time // the end of the lease, or of the pause
}

var errAway = errors.New("away")

func (s *store) Await(context.Context) {}

// of returns a list; the caller holds the lock.
func (s *store) of(list string) (*storedList, error) {
	if s.away {
		return nil, errAway
	}
	if s.lists == nil {
		s.lists = make(map[string]*storedList)
	}
	if s.lists[list] == nil {
		s.lists[list] = new(storedList)
	}
	return s.lists[list], nil
}

func (s *store) ClaimList(_ context.Context, list, holder string, young, lease time.Duration) (c SharedClaim, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.of(list)
	if err != nil {
		return c, err
	}
	now := time.Now()
	c.Version, c.Age = l.version, now.Sub(l.confirmed)
	switch {
	case l.version != "" && c.Age < young:
	case l.holder == "" || l.holder == holder || !now.Before(l.until):
		l.holder, l.until, c.Mine = holder, now.Add(lease), true
	case l.holder == "failed":
		c.Pause = l.until.Sub(now)
	}
	return c, nil
}

func (s *store) LoadList(_ context.Context, list, version string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.of(list)
	if err != nil {
		return nil, err
	}
	if l.version != version || l.text == nil {
		return nil, errors.New("gone")
	}
	s.loaded++
	return l.text, nil
}

func (s *store) StoreList(_ context.Context, list, holder, version, before string, text []byte, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.of(list)
	if err != nil {
		return err
	}
	if text != nil {
		l.text = text
	} else if version != before || l.text == nil {
		return errors.New("gone")
	}
	l.version, l.confirmed = version, time.Now()
	if l.holder == holder {
		l.holder = ""
	}
	return nil
}

func (s *store) ReleaseList(_ context.Context, list, holder string, pause time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.of(list)
	if err != nil {
		return err
	}
	if l.holder == holder {
		if l.holder = ""; pause > 0 {
			l.holder, l.until = "failed", time.Now().Add(pause)
		}
	}
	return nil
}

// loads returns how often a copy was loaded.
func (s *store) loads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loaded
}

// only returns the one list that is stored.
func (s *store) only(t *testing.T) *storedList {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lists) != 1 {
		t.Fatalf("%d lists are shared, want 1", len(s.lists))
	}
	for _, l := range s.lists {
		return l
	}
	return nil
}
