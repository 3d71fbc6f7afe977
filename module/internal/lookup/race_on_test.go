//go:build race

package lookup

// The race detector makes a sync.Pool lose things at random.
const raced = true
