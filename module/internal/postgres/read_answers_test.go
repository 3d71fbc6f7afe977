package postgres

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// TestChanges has one subject whose verdict is recorded again and again, twice at one time.
func TestChanges(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	subject := netip.MustParsePrefix("203.0.113.7/32")
	start := readNow.Add(-time.Hour)
	verdict := func(minutes int, score uint8, points float64, sources ...string) history.Change {
		c := history.Change{At: start.Add(time.Duration(minutes) * time.Minute), Subject: subject, Score: score, Status: "fresh"}
		for _, s := range append([]string{"abuseipdb"}, sources...) {
			c.Evidence = append(c.Evidence, history.Evidence{Source: s, Points: points})
		}
		return c
	}
	l.add(nil, []history.Change{
		verdict(0, 10, 5),
		verdict(1, 10, 5.4),         // aged a little
		verdict(2, 10, 5.95),        // aged more
		verdict(3, 60, 5.95),        // at one time with the next
		verdict(3, 10, 5.95),        //
		verdict(4, 10, 5.95),        // by another instance
		verdict(5, 10, 5.95, "tor"), // one source more, which makes no difference to the score
		verdict(6, 10, 5.95),
	})
	answer, err := l.Changes(t.Context(), history.Query{Prefix: subject, Period: history.Period{From: start.Add(time.Minute)}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range answer.Changes {
		line := fmt.Sprintf("%s %d→%d", d.At.Sub(start), *d.Before, d.Score)
		for _, c := range d.Causes {
			line += " " + c.Source
		}
		got = append(got, line)
	}
	want := []string{"6m0s 10→10 tor", "5m0s 10→10 tor", "3m0s 60→10", "3m0s 10→60", "2m0s 10→10 abuseipdb"}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestEvidence holds that what the sources reported is stored, that rows of earlier versions, which have none of it, are read,
// and that answers show it of neither.
func TestEvidence(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	subject := netip.MustParsePrefix("203.0.113.7/32")
	stored := []history.Evidence{{Source: "abuseipdb", Points: 28.8, Severity: 0.87, Confidence: 0.9}, {Source: "deny", Points: 60, Severity: 1, Confidence: 1}}
	shown := []history.Evidence{{Source: "abuseipdb", Points: 28.8}, {Source: "deny", Points: 60}}
	l.add(nil, []history.Change{
		{At: readNow.Add(-time.Hour), Subject: subject, Score: 85, Status: "fresh", Evidence: shown},
		{At: readNow.Add(-time.Minute), Subject: subject, Score: 100, Status: "fresh", Evidence: stored},
	})
	l.exec(`UPDATE ip_reputation.verdicts SET evidence = '[{"points":28.8,"source":"abuseipdb"},{"source":"deny","points":60}]' WHERE score = 85`)
	rows, err := l.pool.Query(t.Context(), "SELECT evidence FROM ip_reputation.verdicts ORDER BY score")
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[[]history.Evidence])
	if diff := gocmp.Diff([][]history.Evidence{shown, stored}, found); diff != "" || err != nil {
		t.Errorf("stored (-want +got):\n%s%v", diff, err)
	}
	answer, err := l.Timeline(t.Context(), history.Query{Prefix: subject})
	if err != nil || len(answer.Entries) != 2 {
		t.Fatalf("%+v, %v", answer, err)
	}
	for _, e := range answer.Entries {
		if diff := gocmp.Diff(shown, e.Verdict.Evidence); diff != "" {
			t.Errorf("answered (-want +got):\n%s", diff)
		}
	}
	changes, err := l.Changes(t.Context(), history.Query{Prefix: subject})
	if err != nil || len(changes.Changes) != 2 {
		t.Fatalf("%+v, %v", changes, err)
	}
	for _, c := range changes.Changes {
		if diff := gocmp.Diff(shown, c.Evidence); diff != "" {
			t.Errorf("answered (-want +got):\n%s", diff)
		}
	}
}

// TestChangesOfMany has more verdicts that do not differ than are looked at for one page.
func TestChangesOfMany(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	subject := netip.MustParsePrefix("2001:db8::/64")
	changes := make([]history.Change, 2*maxCompared+2)
	for i := range changes {
		changes[i] = history.Change{At: readNow.Add(time.Duration(i-len(changes)) * time.Second), Subject: subject, Score: 50}
	}
	changes[0].Score = 40
	l.add(nil, changes)
	var found, empty int
	q := history.Query{Prefix: subject}
	for {
		answer, err := l.Changes(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if found += len(answer.Changes); len(answer.Changes) == 0 {
			empty++
		}
		if q.After = answer.Next; q.After == "" {
			break
		}
	}
	if found != 2 || empty == 0 || empty > 2 {
		t.Errorf("found %d, and %d pages were empty", found, empty)
	}
}

func TestGraphBegins(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	address := netip.MustParsePrefix("203.0.113.7/32")
	minute := readNow.Truncate(time.Minute).Add(-time.Hour)
	l.add([]history.Decision{{
		Minute: minute, Address: address, Action: "pass", Mode: "enforce", Count: 3,
		First: minute.Add(10 * time.Second), Last: minute.Add(50 * time.Second),
	}}, nil)
	g, err := l.Graph(t.Context(), history.Query{Prefix: address}, 2)
	if err != nil || !g.Period.From.Equal(minute.Add(10*time.Second)) || g.Parts[0].Actions["pass"] != 3 {
		t.Errorf("%+v, %v", g, err)
	}
	g, err = l.Graph(t.Context(), history.Query{Prefix: address}, 120) // no part is shorter than a minute
	if err != nil || !g.Period.From.Equal(readNow.Add(-2*time.Hour)) || !g.Parts[1].From.Equal(readNow.Add(-119*time.Minute)) {
		t.Errorf("%+v, %v", g, err)
	}
}

// TestPagesAreOfOneTime asks for later pages later: they are about the time that the first was about.
func TestPagesAreOfOneTime(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	minute := readNow.Truncate(time.Minute).Add(-time.Minute)
	var decisions []history.Decision
	for i := range 4 {
		decisions = append(decisions, history.Decision{
			Minute: minute, Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 32), Rule: fmt.Sprint(i),
			Action: "block", Mode: "observe", Count: 1, First: minute, Last: minute,
		})
	}
	l.add(decisions, nil)
	worst, err := l.Worst(t.Context(), history.Ranking{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	rules, err := l.Rules(t.Context(), history.Ranking{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	l.clock.Store(int64(48 * time.Hour))
	moreWorst, err := l.Worst(t.Context(), history.Ranking{Limit: 2, After: worst.Next})
	if err != nil || len(moreWorst.Worst) != 2 || moreWorst.Period != worst.Period {
		t.Errorf("%+v, %v, after %+v", moreWorst, err, worst.Period)
	}
	moreRules, err := l.Rules(t.Context(), history.Ranking{Limit: 2, After: rules.Next})
	if err != nil || len(moreRules.Rules) != 2 || moreRules.Period != rules.Period {
		t.Errorf("%+v, %v, after %+v", moreRules, err, rules.Period)
	}
}

// A request is found by its ID, if it was the first of its row, in the last day unless the question says otherwise.
func TestRequests(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	row := func(id string, before time.Duration) history.Decision {
		at := readNow.Add(-before)
		return history.Decision{
			Minute: at.Truncate(time.Minute), Address: netip.MustParsePrefix("203.0.113.7/32"), Rule: "block score 85",
			Action: "block", Mode: "enforce", Count: 3, First: at, Last: at, RequestID: id, Status: "fresh",
		}
	}
	l.add([]history.Decision{row("mine", time.Hour), row("mine", 30*time.Hour), row("other", time.Hour)}, nil)
	for from, want := range map[time.Time]int{{}: 1, readNow.Add(-48 * time.Hour): 2} {
		found, err := l.Requests(t.Context(), "mine", history.Period{From: from})
		if err != nil || len(found.Decisions) != want || found.Decisions[0].RequestID != "mine" ||
			found.Decisions[0].Rule != "block score 85" || !found.Decisions[0].First.Equal(readNow.Add(-time.Hour)) {
			t.Errorf("from %s: %+v, %v", from, found, err)
		}
	}
	found, err := l.Requests(t.Context(), "nobody's", history.Period{})
	if err != nil || found.Decisions == nil || len(found.Decisions) > 0 {
		t.Errorf("unknown: %+v, %v", found, err)
	}
}
