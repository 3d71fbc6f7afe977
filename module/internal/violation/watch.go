package violation

import (
	"net/netip"
	"slices"
	"sync"
)

// watchers are told which subjects change.
type watchers struct {
	mu  sync.RWMutex
	all []*func(netip.Addr)
}

// Watch calls changed with the address of each subject whose violations change: counted here or by
// another instance, or forgotten. It must be quick. It may call the store.
func (s *Store) Watch(changed func(addr netip.Addr)) (stop func()) {
	w := &s.watchers
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(slices.Clone(w.all), &changed)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.all = slices.DeleteFunc(slices.Clone(w.all), func(f *func(netip.Addr)) bool { return f == &changed })
	}
}

func (w *watchers) call(addr netip.Addr) {
	w.mu.RLock()
	all := w.all
	w.mu.RUnlock()
	for _, changed := range all {
		(*changed)(addr)
	}
}
