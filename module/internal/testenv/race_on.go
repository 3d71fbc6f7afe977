//go:build race

package testenv

// Race reports whether the race detector runs. It makes a sync.Pool lose values at random, so that code which takes its
// room from one allocates now and then.
const Race = true
