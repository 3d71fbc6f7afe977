// Package process holds what belongs to the process, whichever configurations it has: the values that they share, the
// data folder, and the work that goes on beside requests.
package process

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"

	"github.com/caddyserver/caddy/v2"
)

// pool holds what outlives a reload. A value's key holds the settings that built it: an unchanged
// configuration finds the value in use, a changed one builds its own.
var pool = caddy.NewUsagePool()

// Leases are the shared values that a module uses, each to be released once.
type Leases []func() error

// Add adds what is to be done when the module ends.
func (l *Leases) Add(release func() error) { *l = append(*l, release) }

// Release releases the values in reverse order: what was acquired later may use what was acquired earlier.
// More calls do nothing.
func (l *Leases) Release() error {
	all := *l
	*l = nil
	var err error
	for _, release := range slices.Backward(all) {
		err = errors.Join(err, release())
	}
	return err
}

// shared is a value in the pool.
type shared[T any] struct {
	value T
	close func() error
}

// Destruct implements caddy.Destructor.
func (s *shared[T]) Destruct() error {
	if s.close == nil {
		return nil
	}
	return s.close()
}

// Share returns the value of a key, and adds to leases that it must be released. Where nobody uses such a
// value yet, open makes it; close, which may be nil, is called when nobody uses it any more. It must not be
// called from within open.
func Share[T any](leases *Leases, key string, open func() (value T, close func() error, err error)) (T, error) {
	found, _, err := pool.LoadOrNew(key, func() (caddy.Destructor, error) {
		value, closeValue, err := open()
		return &shared[T]{value, closeValue}, err
	})
	if err != nil {
		var none T
		return none, err
	}
	leases.Add(func() error {
		_, err := pool.Delete(key)
		return err
	})
	return found.(*shared[T]).value, nil
}

// Hash returns a key for settings that may hold secrets.
func Hash(settings any) (string, error) {
	text, err := json.Marshal(settings)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}
