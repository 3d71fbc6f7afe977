package secret

import (
	"context"
	"fmt"
)

// Await returns the value. It waits for the first one until ctx ends.
func (r *Refresher) Await(ctx context.Context) (string, error) {
	for {
		changed := r.Changed()
		if value, ok := r.Current(); ok {
			return value, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", fmt.Errorf("no key has come from its store: %w", ctx.Err())
		}
	}
}
