package postgres

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// plan is a part of what EXPLAIN says.
type plan struct {
	Node     string `json:"Node Type"`
	Memory   int    `json:"Peak Memory Usage"` // in KiB, of groups
	Sorted   int    `json:"Sort Space Used"`   // likewise, of a sort
	Where    string `json:"Sort Space Type"`
	Workers  int    `json:"Workers Planned"`
	Relation string `json:"Relation Name"`
	Index    string `json:"Index Name"`
	Loops    int    `json:"Actual Loops"`
	Plans    []plan
}

// scans returns how each partition is read that is.
func (p *plan) scans(found map[string]string) map[string]string {
	if p.Relation != "" && p.Loops > 0 {
		found[p.Relation] = p.Node
	}
	for i := range p.Plans {
		p.Plans[i].scans(found)
	}
	return found
}

// TestReadPlans looks at how the database finds what is asked for: by the index, in the partitions of the time only.
func TestReadPlans(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	var days []time.Time
	for i := range 5 {
		days = append(days, dayOf(readNow).Add(-time.Duration(i)*day))
	}
	pool, err := l.usable()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.makePartitions(t.Context(), pool, days); err != nil {
		t.Fatal(err)
	}
	l.exec(`
INSERT INTO ip_reputation.decisions (minute, address, host, rule, action, mode, count, first_at, last_at, request_id, status, config)
SELECT m, inet '198.51.0.0' + g % 4000, '', '', 'pass', 'enforce', 1, m, m, '', '', ''
FROM (SELECT g, timestamptz '2026-11-22 00:00Z' + g % 7200 * interval '1 min' AS m FROM generate_series(1, 40000) g) x;
INSERT INTO ip_reputation.verdicts (at, subject, score, status, coverage, categories, country, asn, evidence, request_id, config)
SELECT timestamptz '2026-11-22 00:00Z' + g % 7200 * interval '1 min', inet '198.51.0.0' + g % 4000, 1, '', 1, '{}', '', 0, '[]', '', ''
FROM generate_series(1, 40000) g`)
	l.vacuum()

	twoDays := history.Period{From: dayOf(readNow).Add(-2 * day), To: dayOf(readNow)}
	for _, prefix := range prefixes("198.51.0.7/32", "198.51.0.0/25") {
		q, err := l.prefixQuery(kindTimeline, history.Query{Prefix: prefix, Period: twoDays, Limit: 200})
		if err != nil {
			t.Fatal(err)
		}
		decisions, verdicts := decisionsOfNetwork, verdictsOfNetwork
		if prefix.IsSingleIP() {
			decisions, verdicts = decisionsOfAddress, verdictsOfSubject
		}
		args := q.page()
		for name, statement := range map[string]string{
			"decisions": decisions, "verdicts": verdicts, "changes": selectComparisons, "graph": selectGraph, "seen": selectSeen,
		} {
			found := scansOf(t, l, statement, args)
			for relation, node := range found {
				if strings.HasSuffix(relation, "_20261127") || strings.HasSuffix(relation, "_20261128") {
					continue // there is nothing in them
				}
				if !strings.Contains(node, "Index") && !strings.HasPrefix(node, "Bitmap") {
					t.Errorf("%s of %s: %s by %s", name, prefix, relation, node)
				}
				inTime := strings.HasSuffix(relation, "_20261124") || strings.HasSuffix(relation, "_20261125")
				if !inTime && (name == "decisions" || name == "verdicts" || name == "graph") {
					t.Errorf("%s of %s looks at %s", name, prefix, relation)
				}
			}
			if len(found) == 0 {
				t.Errorf("%s of %s looks nowhere", name, prefix)
			}
		}
	}
	q, err := l.prefixQuery(kindTimeline, history.Query{Prefix: prefixes("198.51.0.7/32")[0], Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	args := q.page()
	args["limit"] = 1
	if found := scansOf(t, l, decisionsOfAddress, args); len(found) > 2 { // nothing is of the first day
		t.Errorf("a page of one entry looks at %v", found)
	}
}

func scansOf(t *testing.T, l *library, statement string, args pgx.NamedArgs) map[string]string {
	t.Helper()
	var plans []struct{ Plan plan }
	text := explain(t, l, "ANALYZE, FORMAT JSON", statement, args)
	if err := json.Unmarshal([]byte(text), &plans); err != nil || len(plans) != 1 {
		t.Fatal(err, text)
	}
	return plans[0].Plan.scans(map[string]string{})
}

// TestRankingsAreFrugal holds that a ranking takes no more of the database's memory than work_mem says for each of its steps,
// and no workers, which would take as much again.
func TestRankingsAreFrugal(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	l.exec(`
INSERT INTO ip_reputation.decisions (minute, address, host, rule, action, mode, count, first_at, last_at, request_id, status, config)
SELECT m, inet '10.0.0.0' + g % 100000 * 97, 'www' || g % 50, '', 'block', 'enforce', 1, m, m, '', '', ''
FROM (SELECT g, timestamptz '2026-11-26 00:00Z' + g % 1440 * interval '1 min' AS m FROM generate_series(1, 200000) g) x`)
	l.vacuum()
	q, err := l.rankingQuery(kindWorst, history.Ranking{Period: history.Period{From: dayOf(readNow).Add(-3 * day), To: readNow}})
	if err != nil {
		t.Fatal(err)
	}
	args := q.args()
	args["limit"], args["further"], args["refused"], args["requests"], args["prefix"] = 50, false, 0, 0, netip.Prefix{}
	args["host"], args["rule"], args["action"], args["mode"] = "", "", "", ""
	for name, statement := range map[string]string{"worst": worstAddresses, "networks": worstNetworks, "rules": selectRules} {
		var plans []struct{ Plan plan }
		text := explain(t, l, "ANALYZE, FORMAT JSON", statement, args)
		if err := json.Unmarshal([]byte(text), &plans); err != nil || len(plans) != 1 {
			t.Fatal(err, text)
		}
		const most = 3 * 4096 // work_mem by default, twice as much for hashes, and some for what goes to disk
		var steps int
		plans[0].Plan.each(func(p *plan) {
			steps++
			if p.Workers > 0 || p.Memory > most || p.Where == "Memory" && p.Sorted > most {
				t.Errorf("%s: %s takes %d KiB and %d workers\n%s", name, p.Node, max(p.Memory, p.Sorted), p.Workers, text)
			}
		})
		if steps < 3 {
			t.Errorf("%s has %d steps", name, steps)
		}
	}
}

// each calls do for a step and all below it.
func (p *plan) each(do func(*plan)) {
	do(p)
	for i := range p.Plans {
		p.Plans[i].each(do)
	}
}

// TestOneRankingAtATime holds a ranking back, and asks further ones and other questions.
func TestOneRankingAtATime(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	l.ranking <- struct{}{} // as one that runs
	l.budget = 200*time.Millisecond - readGrace
	for name, ask := range readQuestions(l, someNetwork) {
		err := ask(t.Context())
		ranks := name == "worst" || name == "networks" || name == "rules"
		if busy := errors.Is(err, history.ErrUnavailable) && strings.Contains(err.Error(), "busy"); busy != ranks {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(l.slots); n != 0 {
		t.Errorf("%d queries are still counted", n)
	}
}
