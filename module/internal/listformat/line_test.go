package listformat

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestEachLine compares with a twin that splits a string.
func TestEachLine(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "b\r", strings.Repeat("c", MaxLine-1), strings.Repeat("d", MaxLine+1), "\r"}), 1, 8).Draw(rt, "lines")
		var want []string
		for i, p := range parts {
			if len(p) > MaxLine {
				want = append(want, "long")
			} else if p = strings.TrimSuffix(p, "\r"); p != "" || i < len(parts)-1 {
				want = append(want, p)
			}
		}
		var got []string
		err := EachLine(strings.NewReader(strings.Join(parts, "\n")), func(number int, line []byte) error {
			if number != len(got)+1 {
				rt.Errorf("line %d is numbered %d", len(got)+1, number)
			}
			if line == nil {
				got = append(got, "long")
			} else {
				got = append(got, string(line))
			}
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			rt.Errorf("got %d lines, want %d, %v", len(got), len(want), err)
		}
	})
}
