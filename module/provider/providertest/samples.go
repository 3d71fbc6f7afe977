package providertest

import (
	"os"
	"path/filepath"
	"testing"
)

// Samples returns the contents of the files that match a pattern, such as "testdata/*.json", for a fuzz test to begin
// with. It fails the test if there is none.
func Samples(tb testing.TB, pattern string) (bodies [][]byte) {
	tb.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		tb.Fatalf("no samples in %s: %v", pattern, err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	return bodies
}
