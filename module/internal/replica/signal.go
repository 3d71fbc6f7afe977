package replica

import "sync"

// Signal tells everybody who waits that something has changed. Waiters do not share a value that one of them could take
// from the others: two that follow one map, as during a reload, both learn of each change. The zero Signal is ready.
type Signal struct {
	mu   sync.Mutex
	next chan struct{} // nil: nobody waits
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

// Notify wakes all who wait. It does not block.
func (s *Signal) Notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
}
