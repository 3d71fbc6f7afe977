package recorder

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// The environment of a child: its folder, and the number of its first request.
const (
	childDir   = "IPREP_TEST_HISTORY_DIR"
	childFirst = "IPREP_TEST_HISTORY_FIRST"
)

// shelves is a Store in a folder, which outlives its process.
type shelves string

var errAmbiguous = errors.New("the connection broke")

func (s shelves) Write(_ context.Context, b *history.Batch) (history.Stored, error) {
	path := filepath.Join(string(s), b.ID.String())
	var text bytes.Buffer
	if err := writeBatch(&text, b); err != nil {
		return history.Stored{}, err
	}
	temp := fmt.Sprintf("%s.%d.tmp", path, rand.Uint64())
	if err := os.WriteFile(temp, text.Bytes(), 0o600); err != nil {
		return history.Stored{}, err
	}
	defer os.Remove(temp)
	if err := os.Link(temp, path); err != nil && !errors.Is(err, os.ErrExist) { // as a transaction ends: wholly or not
		return history.Stored{}, err
	}
	if rand.IntN(4) == 0 {
		return history.Stored{}, errAmbiguous
	}
	return history.Stored{Entries: entriesOf(b)}, nil
}

// read returns how often each numbered request is stored.
func (s shelves) read(tb testing.TB) map[int]int64 {
	counts := make(map[int]int64)
	for _, name := range names(tb, string(s), "") {
		if _, ok := parseID(name); !ok {
			continue // of a process that was killed while it wrote
		}
		f, err := os.Open(filepath.Join(string(s), name))
		if err != nil {
			tb.Fatal(err)
		}
		c, err := readContent(f)
		if _ = f.Close(); err != nil || c.broken > 0 {
			tb.Fatalf("%s: %v, %d broken lines", name, err, c.broken)
		}
		for _, d := range c.window.decisions {
			counts[numberOf(d.Address)] += d.Count
		}
	}
	return counts
}

func numberOf(p netip.Prefix) int {
	a := p.Addr().As16()
	return int(a[4])<<24 | int(a[5])<<16 | int(a[6])<<8 | int(a[7])
}

// telling is a journal that prints the numbers of requests, once they are written.
type telling struct{ appendable }

func (f telling) Write(p []byte) (int, error) {
	n, err := f.appendable.Write(p)
	if err == nil {
		var out []byte
		for text := range bytes.Lines(p) {
			if l, ok := parseLine(text); ok && l.Decision != nil {
				out = fmt.Appendf(out, "safe %d\n", numberOf(l.Decision.Address))
			}
		}
		_, _ = os.Stdout.Write(out)
	}
	return n, err
}

// child records numbered requests until it is killed.
func child() {
	dir := os.Getenv(childDir)
	first, err := strconv.Atoi(os.Getenv(childFirst))
	if err != nil {
		panic(err)
	}
	p := hasty
	p.flush, p.seal, p.scan, p.sealRows, p.orphanAge = time.Millisecond, 5*time.Millisecond, 5*time.Millisecond, 300, 0
	r := Open(Options{
		Dir: filepath.Join(dir, "spool"), Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), timing: p,
		files: files{create: func(path string) (appendable, bool, error) {
			f, locked, err := createFile(path)
			return telling{f}, locked, err
		}},
	})
	r.Use(Settings{Store: shelves(filepath.Join(dir, "store")), Rows: 1 << 30})
	r.Start()
	const burst = 50
	for n := first; ; n += burst {
		fmt.Printf("sent %d\n", n+burst)
		for i := range burst {
			r.Record(numbered(n + i))
		}
		for r.stripes.waiting() > 1000 {
			time.Sleep(100 * time.Microsecond)
		}
	}
}

// TestKill kills a process ten times in the middle of its work. What it had in its journal is stored, nothing is stored twice,
// and nothing that was never sent.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	store := shelves(filepath.Join(dir, "store"))
	if err := os.Mkdir(string(store), 0o700); err != nil {
		t.Fatal(err)
	}
	safe, sent := make(map[int]bool), 0
	for range 10 {
		sent = killOne(t, dir, sent, len(safe)+500+rand.IntN(3000), safe)
	}
	r := newRig(t, Options{Dir: filepath.Join(dir, "spool")})
	r.spool.orphanAge = 0
	r.spool.scan()
	if adopted := names(t, filepath.Join(dir, "spool"), journalSuffix); len(adopted) > 0 {
		t.Errorf("nobody has adopted %v", adopted)
	}
	for errors.Is(r.sendAll(store), errAmbiguous) {
		r.check(t, r.Counts().Written+r.Counts().Waiting)
	}
	stored := store.read(t)
	for n := range safe {
		if stored[n] != 1 {
			t.Fatalf("request %d was safe, and is stored %d times", n, stored[n])
		}
	}
	for n, times := range stored {
		if times != 1 || n >= sent {
			t.Fatalf("request %d of %d is stored %d times", n, sent, times)
		}
	}
	if c := r.Counts(); c.Waiting != 0 || c.Dropped != [NumDrops]int64{} {
		t.Errorf("%+v are counted", c)
	}
	t.Logf("%d safe ≤ %d stored ≤ %d sent", len(safe), len(stored), sent)
}

// killOne starts a child, and kills it when so many requests are safe. It returns how many were sent, at most.
func killOne(t *testing.T, dir string, first, until int, safe map[int]bool) (sent int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childDir+"="+dir, childFirst+"="+strconv.Itoa(first))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sent = first
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var word string
		var n int
		if _, err := fmt.Sscanf(lines.Text(), "%s %d", &word, &n); err != nil {
			break // it was killed within a line
		}
		if word == "sent" {
			sent = n
		} else if safe[n] = true; len(safe) >= until {
			_ = cmd.Process.Kill()
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child has ended by itself")
	}
	if len(safe) < until {
		t.Fatalf("only %d of %d requests are safe", len(safe), until)
	}
	return sent
}
