package recorder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

var prefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// TestFormat holds the format, so that the files of one version are read by the next.
func TestFormat(t *testing.T) {
	score := uint8(88)
	d := history.Decision{
		Minute: start.Truncate(time.Minute), Address: netip.MustParsePrefix("203.0.113.7/32"), Host: "app.example.com", Rule: "block score 85",
		Action: "block", Mode: "enforce", Count: 3, First: start, Last: start.Add(time.Microsecond), RequestID: "0af7", Score: &score,
		Status: "fresh", Config: "1f8a",
	}
	c := history.Change{
		At: start, Subject: netip.MustParsePrefix("2001:db8::/64"), Score: 88, Status: "fresh", Coverage: 0.5, Categories: []string{"scanner"},
		Country: "NL", ASN: 64500, Evidence: []history.Evidence{{Source: "abuseipdb", Points: 28.8, Categories: []string{"scanner"}, Age: 3600}},
		RequestID: "0af7", Config: "1f8a",
	}
	b := &history.Batch{ID: history.ID{0xab}, Decisions: []history.Decision{d}, Changes: []history.Change{c}}
	var text bytes.Buffer
	if err := writeBatch(&text, b); err != nil {
		t.Fatal(err)
	}
	want := `23a0b93b {"history":{"version":1,"id":"ab000000000000000000000000000000","entries":4}}
b0a9dd11 {"decision":{"minute":"2026-11-24T17:16:00Z","address":"203.0.113.7/32","host":"app.example.com","rule":"block score 85","action":"block","mode":"enforce","request_id":"0af7","status":"fresh","config":"1f8a","count":3,"first":"2026-11-24T17:16:23Z","last":"2026-11-24T17:16:23.000001Z","score":88}}
3faea7dc {"change":{"at":"2026-11-24T17:16:23Z","subject":"2001:db8::/64","score":88,"status":"fresh","coverage":0.5,"categories":["scanner"],"country":"NL","asn":64500,"evidence":[{"source":"abuseipdb","points":28.8,"categories":["scanner"],"age_seconds":3600}],"request_id":"0af7","config":"1f8a"}}
`
	if text.String() != want {
		t.Errorf("it is written as\n%s", &text)
	}
	got, err := readContent(&text)
	if err != nil || got.broken != 0 || got.entries != 4 || got.lost() != 0 {
		t.Errorf("it is read with %v, %+v", err, got)
	}
	if diff := cmp.Diff(b, got.window.batch(b.ID), prefixes); diff != "" {
		t.Errorf("it is read with a difference (-want +got):\n%s", diff)
	}
}

// TestFormatOfJournals holds the format of journals: a row once, and then what is added to it.
func TestFormatOfJournals(t *testing.T) {
	k := newRig(t, Options{Dir: t.TempDir()})
	e := request(7)
	k.record(e)
	k.flush()
	e.At, e.Verdict = e.At.Add(time.Second), scored(7, 3).Verdict
	k.record(e, e)
	k.flush()
	text, err := os.ReadFile(k.collector.journal.path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	want := []string{
		`{"decision":{"minute":"2026-11-24T17:16:00Z","address":"203.0.113.7/32","host":"app.example.com","rule":"block score 85","action":"block","mode":"enforce","request_id":"0af7651916cd43dd8448eb211c80319c","status":"pending","config":"1f8a","count":1,"first":"2026-11-24T17:16:23Z","last":"2026-11-24T17:16:23Z"},"n":0}` + "\n",
		`{"again":{"n":0,"count":2,"last":"2026-11-24T17:16:24Z","status":"fresh","score":3}}` + "\n",
	}
	for i, l := range want {
		if got := lines[i+1]; len(got) < sumSize || got[sumSize:] != l {
			t.Errorf("line %d is\n%s", i+1, got)
		}
	}
	c, err := readContent(bytes.NewReader(text))
	if err != nil || c.broken != 0 || c.window.entries != 3 {
		t.Errorf("it is read with %v, %+v", err, c)
	}
	if diff := cmp.Diff(k.collector.ledger.decisions, c.window.decisions, prefixes); diff != "" {
		t.Errorf("it is read with a difference (-want +got):\n%s", diff)
	}
	without := lines[0] + lines[2] // the row's own line is damaged
	if c, err := readContent(strings.NewReader(without)); err != nil || c.broken != 1 || c.window.rows() != 0 {
		t.Errorf("without its row, the count is read with %v, %+v", err, c)
	}
	k.die()
}

// TestFormatOfReports holds how what a source reported is written. TestFormat has a file without it, of an earlier version.
func TestFormatOfReports(t *testing.T) {
	c := history.Change{
		At: start, Subject: netip.MustParsePrefix("203.0.113.7/32"), Score: 3, Status: "fresh",
		Evidence: []history.Evidence{{Source: "greynoise", Points: -38, Severity: -1, Confidence: 0.95}}, RequestID: "0af7", Config: "1f8a",
	}
	text := appendLine(nil, line{Change: &c})
	want := `00b27afc {"change":{"at":"2026-11-24T17:16:23Z","subject":"203.0.113.7/32","score":3,"status":"fresh","coverage":0,"evidence":[{"source":"greynoise","points":-38,"severity":-1,"confidence":0.95}],"request_id":"0af7","config":"1f8a"}}
`
	if string(text) != want {
		t.Errorf("it is written as\n%s", text)
	}
	if l, ok := parseLine(text); !ok || l.Change == nil || !cmp.Equal(c.Evidence, l.Change.Evidence) {
		t.Errorf("it is read as %+v", l.Change)
	}
}

// TestDecisionLine holds that the line of a decision is the JSON that encoding/json reads, whatever the texts.
func TestDecisionLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := history.Decision{
			Minute: time.Unix(rapid.Int64Range(0, 1<<37).Draw(t, "minute"), 0).UTC(), Address: netip.MustParsePrefix("2001:db8::/48"),
			Host: rapid.String().Draw(t, "host"), Rule: rapid.String().Draw(t, "rule"), Action: "block", Mode: observe,
			Count: rapid.Int64Range(1, 1<<40-1).Draw(t, "count"), RequestID: rapid.String().Draw(t, "id"), Status: "fresh", Config: "1",
		}
		d.First = time.Unix(d.Minute.Unix(), rapid.Int64Range(0, 1e9-1).Draw(t, "nanoseconds")).UTC()
		d.Last = d.First
		if rapid.Bool().Draw(t, "scored") {
			score := rapid.Uint8Range(0, 100).Draw(t, "score")
			d.Score = &score
		}
		text := appendDecision([]byte("before "), &d, -1)[len("before "):]
		l, ok := parseLine(text)
		if diff := cmp.Diff(&d, l.Decision, prefixes); !ok || diff != "" {
			t.Fatalf("%s is read with a difference (-want +got):\n%s", text, diff)
		}
		slow := appendLine(nil, line{Decision: &d})
		if l, ok := parseLine(slow); !ok || cmp.Diff(&d, l.Decision, prefixes) != "" {
			t.Fatalf("%s is read as %+v", slow, l.Decision)
		}
	})
}

// TestLongLines holds that no line is longer than what is read.
func TestLongLines(t *testing.T) {
	b := appendLine([]byte("before\n"), line{Change: &history.Change{Country: strings.Repeat("x", maxLine)}})
	if string(b) != "before\n" {
		t.Errorf("%d bytes are written", len(b))
	}
	if b := appendLine([]byte("before\n"), line{Change: &history.Change{Coverage: math.NaN()}}); string(b) != "before\n" {
		t.Errorf("%s is written", b)
	}
}

type brokenReader struct{ *strings.Reader }

func (r brokenReader) Read(p []byte) (int, error) {
	if n, _ := r.Reader.Read(p); n > 0 {
		return n, nil
	}
	return 0, errors.New("input/output error")
}

func TestReadingFails(t *testing.T) {
	for _, text := range []string{"", "x", "x\n", strings.Repeat("x", 2*maxLine)} {
		if _, err := readContent(brokenReader{strings.NewReader(text)}); err == nil {
			t.Errorf("%.10q of a broken disk is a file", text)
		}
	}
	if _, err := readHeader(brokenReader{strings.NewReader("")}); err == nil {
		t.Error("nothing of a broken disk is a header")
	}
}

// FuzzReadBatch reads foreign bytes: as they are, and as lines with a checksum that is right. What is read is what could have
// been written: written and read again it is the same.
func FuzzReadBatch(f *testing.F) {
	e := scored(1, 90, "deny")
	d := decisionOf(&e)
	d.Count, d.Address = 1, netip.MustParsePrefix("203.0.113.7/32")
	c := changeOf(&e, start, d.Address, "0af7", "1")
	one, _ := json.Marshal(line{Decision: &d})
	two, _ := json.Marshal(line{Change: &c})
	for _, text := range []string{
		``, `{}`, `null`, `[]`, string(one), string(one) + "\n" + string(two), `{"history":{"version":1,"entries":5}}`,
		`{"history":{"version":2}}`, `{"history":{"version":1,"entries":-1}}` + "\n" + string(two),
		strings.TrimSuffix(string(one), "}") + `,"n":7}` + "\n" + `{"again":{"n":7,"count":3,"last":"2026-11-24T17:16:24Z","status":"fresh","score":9}}`,
		`{"again":{"n":7,"count":3,"last":"2026-11-24T17:16:24Z","status":"fresh"}}`, `{"again":{"n":-1,"count":0}}`,
		strings.Replace(string(one), `"count":1`, `"count":-1`, 1), strings.Replace(string(one), "2026", "0000", 1),
	} {
		f.Add([]byte(text), true)
		f.Add([]byte(text), false)
	}
	f.Fuzz(func(t *testing.T, text []byte, sums bool) {
		if sums {
			var summed []byte
			for part := range bytes.SplitSeq(text, []byte("\n")) {
				from := len(summed)
				summed = endLine(append(append(summed, make([]byte, sumSize)...), part...), from)
			}
			text = summed
		}
		c, err := readContent(bytes.NewReader(text))
		if err != nil {
			if !errors.Is(err, errVersion) {
				t.Fatal(err)
			}
			return
		}
		if _, err := readHeader(bytes.NewReader(text)); err != nil {
			t.Fatalf("the header: %v", err)
		}
		if lines := bytes.Count(text, []byte("\n")); c.broken+c.window.rows() > lines || c.lost() < 0 || c.window.entries < int64(c.window.rows()) {
			t.Fatalf("%d rows, %d entries, %d broken of %d lines", c.window.rows(), c.window.entries, c.broken, lines)
		}
		b := c.window.batch(history.ID{1})
		var again bytes.Buffer
		if err := writeBatch(&again, b); err != nil {
			t.Fatal(err)
		}
		read, err := readContent(&again)
		if err != nil || read.broken != 0 || read.entries != c.window.entries {
			t.Fatalf("read again: %v, %+v", err, read)
		}
		if diff := cmp.Diff(b, read.window.batch(b.ID), prefixes, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("read again it differs (-first +again):\n%s", diff)
		}
	})
}

func ExampleDrop() {
	for d := range Drop(NumDrops + 1) {
		fmt.Print(d, " ")
	}
	// Output: queue spool expired rejected unreadable hidden Drop(6)
}
