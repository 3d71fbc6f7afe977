package blockfile

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// written returns the blocks of entries.
func written(t testing.TB, entries ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, entry := range entries {
		if err := w.Write(entry); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read returns all entries up to the end, or up to an error.
func read(from io.Reader) (all []byte, err error) {
	for r := NewReader(from); ; {
		entries, err := r.Next()
		if err != nil || len(entries) == 0 {
			return all, err
		}
		all = append(all, entries...)
	}
}

// TestRoundTrip holds that what is written comes back, whatever its size, and that nothing is read beyond the end.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(1, MaxEntry), 0, 6).Draw(rt, "sizes")
		var entries [][]byte
		for i, size := range sizes {
			entries = append(entries, bytes.Repeat([]byte{byte(i + 1)}, size))
		}
		from := bytes.NewReader(append(written(t, entries...), "more"...))
		got, err := read(from)
		if err != nil || !bytes.Equal(got, bytes.Join(entries, nil)) {
			rt.Fatalf("%d bytes, %v", len(got), err)
		}
		if rest, _ := io.ReadAll(from); string(rest) != "more" {
			rt.Fatalf("%q is left", rest)
		}
	})
}

// TestDamage holds that no change of a byte, no end and no other order goes unnoticed, and that what comes before is whole.
func TestDamage(t *testing.T) {
	first, second := bytes.Repeat([]byte{1}, MaxEntry), []byte("second")
	whole := written(t, first, second)
	end := len(whole) - Overhead
	for name, damaged := range map[string][]byte{
		"nothing":           nil,
		"first block lost":  whole[Overhead+len(first):],
		"second block lost": append(bytes.Clone(whole[:Overhead+len(first)]), whole[end:]...),
		"twice":             append(bytes.Clone(whole[:end]), whole...),
		"too short":         {0, 0, 0, 3, 0, 0, 0, 0, 1, 2, 3},
		"too long":          {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
	} {
		if _, err := read(bytes.NewReader(damaged)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := Overhead + len(first); i < len(whole); i++ {
		got, err := read(bytes.NewReader(whole[:i]))
		if !errors.Is(err, ErrDamaged) || !bytes.HasPrefix(got, first) {
			t.Errorf("cut off at %d: %d bytes, %v", i, len(got), err)
		}
		for bit := range 8 {
			flipped := bytes.Clone(whole)
			flipped[i] ^= 1 << bit
			if got, err := read(bytes.NewReader(flipped)); err == nil || !bytes.HasPrefix(got, first) {
				t.Errorf("bit %d of %d: %d bytes, %v", bit, i, len(got), err)
			}
		}
	}
}

// TestErrors holds that errors of a disk are returned unchanged, and that an entry that fits into no block is refused.
func TestErrors(t *testing.T) {
	broken := errors.New("disk is broken")
	if _, err := read(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("reading: %v", err)
	}
	w := NewWriter(failing{broken})
	if err := w.Write(make([]byte, MaxEntry)); err != nil {
		t.Errorf("what fits into a block is written at once: %v", err)
	}
	if err := w.Write([]byte{1}); !errors.Is(err, broken) {
		t.Errorf("writing: %v", err)
	}
	if err := w.Close(); !errors.Is(err, broken) {
		t.Errorf("closing: %v", err)
	}
	if err := NewWriter(io.Discard).Write(make([]byte, MaxEntry+1)); err == nil {
		t.Error("an entry that fits into no block is taken")
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// FuzzNext holds that no bytes make a reader panic, or return more than was there.
func FuzzNext(f *testing.F) {
	f.Add([]byte{})
	f.Add(written(f, []byte("entry")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if all, _ := read(bytes.NewReader(b)); len(all) > len(b) {
			t.Errorf("%d bytes of %d", len(all), len(b))
		}
	})
}
