//go:build !race

package lookup

const raced = false
