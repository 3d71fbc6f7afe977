package load_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// result is one request.
type result struct {
	kind    kind
	seq     uint64
	at      time.Time
	took    time.Duration
	status  int    // 0: there was no answer
	failure string // why
}

// run is one run of vegeta against one of the two Caddys.
type run struct {
	name    string
	plain   bool
	results []result
	cpu     time.Duration // of Caddy

	others float64 // the share of the processors' time that others took meanwhile
	known  bool    // it is
}

// Requests under way at the most: at the machine's limit, and at a rate, where vegeta falls behind when it is reached. Without
// a bound, a machine that is too slow is buried under connections.
const (
	atLimit = 64
	atRate  = 1000
)

// attack runs vegeta; a rate of 0 is as fast as it goes.
func (b *bench) attack(t *testing.T, runName string, plain bool, rate int, duration time.Duration) *run {
	t.Helper()
	s := b.stack.with
	if plain {
		s = b.stack.plain
	}
	r := &run{name: runName, plain: plain}
	file := filepath.Join(b.folder, runName+".bin")
	requests := newTargets(s.site, b.newcomer)
	most := atRate
	if rate == 0 {
		most = atLimit
	}
	cmd := exec.CommandContext(t.Context(), b.vegeta,
		"attack", "-format", "json", "-lazy", "-rate", strconv.Itoa(rate), "-duration", duration.String(), "-max-body", "0",
		"-workers", strconv.Itoa(atLimit), "-max-workers", strconv.Itoa(most), "-timeout", "10s", "-output", file,
		"-header", "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0)",
	)
	cmd.Stdin = requests
	began, before := now(), s.metrics(t)["process_cpu_seconds_total"]
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	r.cpu = time.Duration((s.metrics(t)["process_cpu_seconds_total"] - before) * float64(time.Second))
	r.others, r.known = others(began, now())
	b.newcomer = requests.newcomer
	r.read(t, b.vegeta, file)
	_ = os.Remove(file) // it takes much room
	return r
}

// read reads vegeta's results.
func (r *run) read(t *testing.T, vegeta, file string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), vegeta, "encode", "-to", "csv", file)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.results, err = parse(out)
	if err = errors.Join(err, cmd.Wait()); err != nil {
		t.Fatalf("reading the results: %v", err)
	}
	if len(r.results) == 0 {
		t.Fatal("vegeta has sent nothing")
	}
}

// The columns of vegeta's CSV that we need, and how many there are.
const (
	columnTime, columnStatus, columnLatency, columnError, columnSeq, columnURL = 0, 1, 2, 5, 8, 10
	columns                                                                    = 12
)

func parse(from io.Reader) (results []result, _ error) {
	rows := csv.NewReader(from)
	rows.FieldsPerRecord, rows.ReuseRecord = columns, true
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return results, nil
		}
		if err != nil {
			return nil, err
		}
		at, wrongTime := strconv.ParseInt(row[columnTime], 10, 64)
		took, wrongLatency := strconv.ParseInt(row[columnLatency], 10, 64)
		status, wrongStatus := strconv.Atoi(row[columnStatus])
		seq, wrongSeq := strconv.ParseUint(row[columnSeq], 10, 64)
		if err := errors.Join(wrongTime, wrongLatency, wrongStatus, wrongSeq); err != nil {
			return nil, err
		}
		// the texts are parts of one long one, with everything else in the row
		k := slices.Index(kinds, kind(path.Base(row[columnURL])))
		if k < 0 {
			return nil, fmt.Errorf("a request to %s, which is none of ours", row[columnURL])
		}
		res := result{kind: kinds[k], seq: seq, at: time.Unix(0, at), took: time.Duration(took), status: status}
		if status == 0 {
			res.failure = string([]byte(row[columnError]))
		}
		results = append(results, res)
	}
}

// plot lets vegeta draw the latencies of a run over time. A page for each, since it cannot draw lines of several; and what
// counts as an error is ours to say, since to vegeta every 403 is one.
func (b *bench) plot(t *testing.T, r *run) {
	t.Helper()
	var rows bytes.Buffer
	for i := range r.results {
		res, failure := &r.results[i], ""
		if !res.kind.right(res.status, r.plain) {
			failure = "wrong"
		}
		fmt.Fprintf(&rows, "%d,%d,%d,0,0,%s,,%s,%d,GET,/%s,\n", res.at.UnixNano(), res.status, res.took.Nanoseconds(), failure, r.name, res.seq, res.kind)
	}
	cmd := exec.CommandContext(t.Context(), b.vegeta, "plot", "-title", r.name, "-output", filepath.Join(b.folder, r.name+".html"))
	cmd.Stdin = &rows
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("plotting: %v\n%s", err, out)
	}
}
