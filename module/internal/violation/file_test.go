package violation

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/blockfile"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
)

// saved returns the file of a store with so many subjects who have touched the trap.
func saved(t testing.TB, subjects int) []byte {
	t.Helper()
	s := open(t, "", Options{})
	for i := range subjects {
		s.Add(&trap, Act{Client: alone(i), Share: 1})
	}
	var data bytes.Buffer
	if err := s.encode(&data); err != nil {
		t.Fatal(err)
	}
	return data.Bytes()
}

// TestDamagedFile proves that of a damaged file what is whole is used, that it is set aside, and
// that this is logged.
func TestDamagedFile(t *testing.T) {
	const n = 3000 // three blocks
	good := saved(t, n)
	for name, tc := range map[string]struct {
		damage func([]byte) []byte
		least  int
		most   int
	}{
		"empty":         {func([]byte) []byte { return nil }, 0, 0},
		"another file":  {func([]byte) []byte { return []byte("[]") }, 0, 0},
		"other version": {func(b []byte) []byte { b[15] = '9'; return b }, 0, 0},
		"cut off":       {func(b []byte) []byte { return b[:len(b)-20] }, n * 2 / 3, n},
		"one bit":       {func(b []byte) []byte { b[len(b)/2] ^= 1; return b }, n / 4, n - 1},
		"swapped ends":  {func(b []byte) []byte { return append(b[:32], b[len(b)-100:]...) }, 0, 0},
		"huge block":    {func(b []byte) []byte { b[32] = 0xff; return b }, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "violations.bin")
			if err := os.WriteFile(path, tc.damage(bytes.Clone(good)), 0o600); err != nil {
				t.Fatal(err)
			}
			var log logtest.Log
			s := open(t, path, Options{Logger: log.Logger()})
			if got := s.Status().Clients; got < tc.least || got > tc.most {
				t.Errorf("%d subjects, want %d to %d", got, tc.least, tc.most)
			}
			if text := log.Take(); !strings.Contains(text, "level=WARN") || !strings.Contains(text, ".damaged") {
				t.Errorf("logged %s", text)
			}
			if _, err := os.Stat(path + ".damaged"); err != nil {
				t.Error(err)
			}
			kept := s.Status().Clients
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s = open(t, path, Options{Logger: log.Logger()}); s.Status().Clients != kept || log.Take() != "" {
				t.Errorf("after a restart: %d subjects, logged %s", s.Status().Clients, log.Take())
			}
		})
	}
}

// TestOldFile proves that what is worth nothing any more, or lies in the future, is not read.
func TestOldFile(t *testing.T) {
	data := saved(t, 10)
	for name, tc := range map[string]struct {
		later time.Duration
		want  int
	}{
		"a week later":   {7 * 24 * time.Hour, 10},
		"a year later":   {365 * 24 * time.Hour, 0},
		"the day before": {-24 * time.Hour, 0},
	} {
		s := open(t, "", Options{})
		s.wait(tc.later)
		added, err := s.decode(bytes.NewReader(data), true, s.time)
		if err != nil || added != tc.want {
			t.Errorf("%s: %d subjects, %v", name, added, err)
		}
	}
}

// TestTwoProcessesWithOneFile proves that a second process leaves the file alone, and that when it
// takes it over, what both have counted is in it.
func TestTwoProcessesWithOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "violations.bin")
	first, second := open(t, path, Options{Detached: true}), open(t, path, Options{Detached: true})
	first.Attach()
	first.Add(&trap, Act{Client: client, Share: 1})
	second.Add(&trap, Act{Client: alone(1), Share: 1})
	second.Save()
	if _, err := os.Stat(path); err == nil {
		t.Error("the second process has written the file")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second.Attach()
	if second.points(client, &trap) != 60 {
		t.Error("what the first process has counted is not taken over")
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if third := open(t, path, Options{}); third.Status().Clients != 2 {
		t.Errorf("%d subjects are on disk, want 2", third.Status().Clients)
	}
}

// TestForgettingIsSaved proves that what an operator deletes does not come back after a process was
// killed.
func TestForgettingIsSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "violations.bin")
	s := open(t, path, Options{})
	s.Add(&trap, Act{Client: client, Share: 1})
	s.Save()
	s.Forget(client)
	for deadline := time.Now().Add(10 * time.Second); s.changed.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not saved")
		}
	}
	s.Save() // waits for the one that saves
	if other := open(t, path, Options{Detached: true}); other.Has(client) {
		t.Error("it is still on disk")
	}
}

// TestADiskThatFails proves that counting goes on, and that the next save succeeds.
func TestADiskThatFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "folder")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log logtest.Log
	s := open(t, filepath.Join(dir, "violations.bin"), Options{Logger: log.Logger()})
	log.Take()
	s.Add(&trap, Act{Client: client, Share: 1})
	if s.Save(); !strings.Contains(log.Take(), "not on disk") || s.points(client, &trap) != 60 {
		t.Error("it is not logged, or not counted")
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if s.Save(); log.Take() != "" {
		t.Error("it is not saved when the disk works again")
	}
}

// TestUpkeep proves that what is worth nothing any more is forgotten, but not because the clock
// jumps.
func TestUpkeep(t *testing.T) {
	s := open(t, "", Options{})
	s.Add(&login, Act{Client: client, Share: 1})
	s.Add(&trap, Act{Client: alone(1), Share: 1})
	s.wait(12 * time.Hour)
	s.upkeep(time.Minute)
	if !s.Has(client) {
		t.Error("the clock jumps, and a client is forgotten")
	}
	s.wait(12 * time.Hour)
	s.upkeep(12 * time.Hour)
	if s.Has(client) || !s.Has(alone(1)) {
		t.Error("after a day a failed log-in is remembered, or a trap is not")
	}
}

func FuzzDecode(f *testing.F) {
	for _, n := range []int{0, 1, 3} {
		f.Add(saved(f, n))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := open(t, "", Options{Subjects: 1})
		if len(data) > 44 { // so that the fuzzer gets behind the check
			repair(data)
		}
		if _, err := s.decode(bytes.NewReader(data), true, noon); err != nil && s.Status().Clients > s.Status().Capacity {
			t.Fatal(err)
		}
		var text bytes.Buffer
		if err := s.encode(&text); err != nil {
			t.Fatal(err)
		}
		again := open(t, "", Options{Subjects: 1})
		if _, err := again.decode(&text, true, noon); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}

// repair makes the first block of a file one that was written so.
func repair(data []byte) {
	copy(data, magic)
	body := data[len(magic)+len(seed{}):]
	var block bytes.Buffer
	blocks := blockfile.NewWriter(&block)
	_ = blocks.Write(body[blockfile.Overhead:][:min(len(body)-blockfile.Overhead, blockfile.MaxEntry)])
	_ = blocks.Close()
	copy(body, block.Bytes())
}
