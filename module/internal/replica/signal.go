package replica

import "sync"

// Signal notifies all waiters of a change. With one shared channel of values, a waiter could take a
// value from another: two that follow one map, as during a reload, would each miss changes. The
// zero Signal is ready.
type Signal struct {
	mu   sync.Mutex
	next chan struct{} // nil: no waiters
}

// Changed returns a channel that is closed at the next Notify.
func (s *Signal) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = make(chan struct{})
	}
	return s.next
}

// Notify wakes all waiters. It does not block.
func (s *Signal) Notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
}
