package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// aWeek is what the history has of 203.0.113.7: clean, then seen by a list, then blocked.
func aWeek(reader *aReader) {
	decision := func(last, action, mode, rule string, count int64, score uint8) history.Entry {
		return history.Entry{At: at(last), Decision: &history.Decision{
			Address: netip.MustParsePrefix("203.0.113.7/32"), Host: "app.example.com", Rule: rule, Action: action, Mode: mode,
			Count: count, Score: &score, RequestID: "0af7651916cd43dd8448eb211c80319c",
		}}
	}
	verdict := func(when string, score uint8, status string, evidence ...history.Evidence) history.Entry {
		return history.Entry{At: at(when), Verdict: &history.Change{
			At: at(when), Subject: netip.MustParsePrefix("203.0.113.7/32"), Score: score, Status: status, Evidence: evidence,
		}}
	}
	unknown := decision("23 23:00:59", "pass", "observe", "", 1, 0)
	unknown.Decision.Score, unknown.Decision.Host = nil, ""
	reader.timeline.Entries = []history.Entry{
		decision("26 11:59:59", "block", "enforce", "block score 85", 34, 92),
		verdict("26 11:58:03", 92, "fresh", history.Evidence{Source: "abuseipdb", Points: 28.8}, history.Evidence{Source: "tor_exits", Points: 2}),
		decision("25 07:12:00", "limit", "enforce", "limit 10/1m score 50", 200, 61),
		verdict("24 18:00:00", 1, "partial"),
		unknown,
	}
	to := at("26 12:00:00")
	const parts = 64
	for i := range parts {
		part := history.Part{From: to.Add(-7 * 24 * time.Hour * time.Duration(parts-i) / parts)}
		switch {
		case i >= 60:
			part.Score, part.Actions = new(uint8(92)), map[string]int64{"block": 8, "pass": 1}
		case i >= 50:
			part.Score, part.Actions = new(uint8(61)), map[string]int64{"limit": 20, "pass": 12}
		case i >= 40 && i%3 != 0:
			part.Score, part.Actions = new(uint8(i-38)), map[string]int64{"pass": int64(i)}
		}
		reader.graph.Parts = append(reader.graph.Parts, part)
	}
	points := func(p float64) *float64 { return &p }
	reader.changes = history.Changes{Period: reader.timeline.Period, Changes: []history.Difference{
		{
			Change: history.Change{At: at("26 11:58:03"), Subject: netip.MustParsePrefix("203.0.113.7/32"), Score: 92, Status: "fresh", RequestID: "0af7651916cd43dd8448eb211c80319c"},
			Before: new(uint8(61)),
			Causes: []history.Cause{{Source: "abuseipdb", Before: points(12), After: points(28.8)}, {Source: "firehol_level1", Before: points(4)}, {Source: "tor_exits", After: points(2)}},
		},
		{
			Change: history.Change{At: at("24 18:00:00"), Subject: netip.MustParsePrefix("203.0.113.7/32"), Score: 61, Status: "partial"},
			Causes: []history.Cause{{Source: "abuseipdb", After: points(12)}, {Source: "greynoise", After: points(-3.25)}},
		},
	}}
	reader.worst = history.Worst{Period: reader.timeline.Period, Worst: []history.Ranked{
		{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Refused: 234, Requests: 1234, Addresses: 17, Score: new(uint8(92)), First: at("23 23:00:04"), Last: at("26 11:59:59")},
		{Prefix: netip.MustParsePrefix("2001:db8:1::/48"), Refused: 1, Requests: 1, Addresses: 1, First: at("26 00:00:00"), Last: at("26 00:00:00")},
	}}
	reader.rules = history.Rules{Period: reader.timeline.Period, Rules: []history.RuleStats{
		{Host: "app.example.com", Action: "pass", Mode: "enforce", Requests: 1000, Addresses: 12, First: at("23 23:00:04"), Last: at("26 11:59:59")},
		{Host: "app.example.com", Rule: "block score 85", Action: "block", Mode: "observe", Requests: 34, Addresses: 1, First: at("26 11:58:03"), Last: at("26 11:59:59")},
	}}
}

// TestHistoryCommand is what an operator sees, and reads in docs/history.md.
func TestHistoryCommand(t *testing.T) {
	r, reader := remembered(t)
	t.Setenv("COLUMNS", "71")
	t.Setenv("LC_ALL", "C.UTF-8")
	aWeek(reader)
	manual, err := os.ReadFile(docs + "history.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		args string
		want string
		docs bool
	}{
		{"history 203.0.113.7", `
203.0.113.7

first seen  2026-11-23 23:00:04 UTC
last seen   2026-11-26 11:59:59 UTC
requests    1234: 1000 pass, 200 limit, 34 block

highest score and requests, 2026-11-19 12:00 to 2026-11-26 12:00 UTC
  100 │                                                            ▃▃▃▃
      │                                                            ████
      │                                                            ████
      │                                                  ▇▇▇▇▇▇▇▇▇▇████
   50 │                                                  ██████████████
      │                                                  ██████████████
      │                                                  ██████████████
    0 │                                        ▂▃ ▄▄ ▆▆ ███████████████
      ├────────────────────────────────────────────────────────────────
 pass │                                        ▇▇ ▇▇ ██ █▂▂▂▂▂▂▂▂▂▂▁▁▁▁
limit │                                                  ▃▃▃▃▃▃▃▃▃▃
block │                                                            ▁▁▁▁
      └────┬────────┬────────┬─────────┬────────┬────────┬────────┬────
           11-20    11-21    11-22     11-23    11-24    11-25    11-26
       a column is 2h37m; █ is 49 requests

TIME (UTC)           SCORE  ACTION           REQUESTS  RULE                  HOST             REQUEST ID
2026-11-26 11:59:59  92     block (enforce)  34        block score 85        app.example.com  0af7651916cd43dd8448eb211c80319c
2026-11-26 11:58:03  92       verdict, fresh: +28.8 abuseipdb, +2 tor_exits
2026-11-25 07:12:00  61     limit (enforce)  200       limit 10/1m score 50  app.example.com  0af7651916cd43dd8448eb211c80319c
2026-11-24 18:00:00  1        verdict, partial: nothing is known against it
2026-11-23 23:00:59  -      pass (observe)   1         -                     -                0af7651916cd43dd8448eb211c80319c`, true},
		{"history 203.0.113.7 --ascii --limit 1", `
203.0.113.7

first seen  2026-11-23 23:00:04 UTC
last seen   2026-11-26 11:59:59 UTC
requests    1234: 1000 pass, 200 limit, 34 block

highest score and requests, 2026-11-19 12:00 to 2026-11-26 12:00 UTC
  100 |                                                            ....
      |                                                            ####
      |                                                            ####
      |                                                  ##############
   50 |                                                  ##############
      |                                                  ##############
      |                                                  ##############
    0 |                                        .. :: :: ###############
      +----------------------------------------------------------------
 pass |                                        ## ## ## #..............
limit |                                                  ..........
block |                                                            ....
      +----+--------+--------+---------+--------+--------+--------+----
           11-20    11-21    11-22     11-23    11-24    11-25    11-26
       a column is 2h37m; # is 49 requests

TIME (UTC)           SCORE  ACTION           REQUESTS  RULE                  HOST             REQUEST ID
2026-11-26 11:59:59  92     block (enforce)  34        block score 85        app.example.com  0af7651916cd43dd8448eb211c80319c
2026-11-26 11:58:03  92       verdict, fresh: +28.8 abuseipdb, +2 tor_exits
2026-11-25 07:12:00  61     limit (enforce)  200       limit 10/1m score 50  app.example.com  0af7651916cd43dd8448eb211c80319c
2026-11-24 18:00:00  1        verdict, partial: nothing is known against it
2026-11-23 23:00:59  -      pass (observe)   1         -                     -                0af7651916cd43dd8448eb211c80319c`, false},
		{"history 203.0.113.0/24", `
203.0.113.0/24

first seen  2026-11-23 23:00:04 UTC
last seen   2026-11-26 11:59:59 UTC
requests    1234: 1000 pass, 200 limit, 34 block

highest score and requests, 2026-11-19 12:00 to 2026-11-26 12:00 UTC
  100 │                                                            ▃▃▃▃
      │                                                            ████
      │                                                            ████
      │                                                  ▇▇▇▇▇▇▇▇▇▇████
   50 │                                                  ██████████████
      │                                                  ██████████████
      │                                                  ██████████████
    0 │                                        ▂▃ ▄▄ ▆▆ ███████████████
      ├────────────────────────────────────────────────────────────────
 pass │                                        ▇▇ ▇▇ ██ █▂▂▂▂▂▂▂▂▂▂▁▁▁▁
limit │                                                  ▃▃▃▃▃▃▃▃▃▃
block │                                                            ▁▁▁▁
      └────┬────────┬────────┬─────────┬────────┬────────┬────────┬────
           11-20    11-21    11-22     11-23    11-24    11-25    11-26
       a column is 2h37m; █ is 49 requests

TIME (UTC)           ADDRESS      SCORE  ACTION           REQUESTS  RULE                  HOST             REQUEST ID
2026-11-26 11:59:59  203.0.113.7  92     block (enforce)  34        block score 85        app.example.com  0af7651916cd43dd8448eb211c80319c
2026-11-26 11:58:03  203.0.113.7  92       verdict, fresh: +28.8 abuseipdb, +2 tor_exits
2026-11-25 07:12:00  203.0.113.7  61     limit (enforce)  200       limit 10/1m score 50  app.example.com  0af7651916cd43dd8448eb211c80319c
2026-11-24 18:00:00  203.0.113.7  1        verdict, partial: nothing is known against it
2026-11-23 23:00:59  203.0.113.7  -      pass (observe)   1         -                     -                0af7651916cd43dd8448eb211c80319c`, false},
		{"history 203.0.113.7 --changes", `
203.0.113.7, what changed its score from 2026-11-19 12:00:00 UTC to 2026-11-26 12:00:00 UTC

TIME (UTC)           SUBJECT      SCORE    STATUS   REQUEST ID                        BECAUSE
2026-11-26 11:58:03  203.0.113.7  61 → 92  fresh    0af7651916cd43dd8448eb211c80319c  abuseipdb 12 → 28.8, − firehol_level1, +2 tor_exits
2026-11-24 18:00:00  203.0.113.7  61       partial  -                                 +12 abuseipdb, -3.25 greynoise`, true},
		{"history 203.0.113.7 --changes --ascii", `
203.0.113.7, what changed its score from 2026-11-19 12:00:00 UTC to 2026-11-26 12:00:00 UTC

TIME (UTC)           SUBJECT      SCORE     STATUS   REQUEST ID                        BECAUSE
2026-11-26 11:58:03  203.0.113.7  61 -> 92  fresh    0af7651916cd43dd8448eb211c80319c  abuseipdb 12 -> 28.8, - firehol_level1, +2 tor_exits
2026-11-24 18:00:00  203.0.113.7  61        partial  -                                 +12 abuseipdb, -3.25 greynoise`, false},
		{"history --worst networks", `
the worst networks from 2026-11-19 12:00:00 UTC to 2026-11-26 12:00:00 UTC

NETWORK          REFUSED  REQUESTS  ADDRESSES  SCORE  FIRST (UTC)          LAST (UTC)
203.0.113.0/24   234      1234      17         92     2026-11-23 23:00:04  2026-11-26 11:59:59
2001:db8:1::/48  1        1         1          -      2026-11-26 00:00:00  2026-11-26 00:00:00`, true},
		{"history --worst addresses", `
the worst addresses from 2026-11-19 12:00:00 UTC to 2026-11-26 12:00:00 UTC

ADDRESS          REFUSED  REQUESTS  SCORE  FIRST (UTC)          LAST (UTC)
203.0.113.0/24   234      1234      92     2026-11-23 23:00:04  2026-11-26 11:59:59
2001:db8:1::/48  1        1         -      2026-11-26 00:00:00  2026-11-26 00:00:00`, false},
		{"history --rules", `
what was decided from 2026-11-19 12:00:00 UTC to 2026-11-26 12:00:00 UTC

REQUESTS  ADDRESSES  ACTION           RULE            HOST             FIRST (UTC)          LAST (UTC)
1000      12         pass (enforce)   -               app.example.com  2026-11-23 23:00:04  2026-11-26 11:59:59
34        1          block (observe)  block score 85  app.example.com  2026-11-26 11:58:03  2026-11-26 11:59:59`, true},
	} {
		got := trimLines(r.run(t, strings.Fields(step.args)...))
		if step.docs && !strings.Contains(string(manual), step.want) {
			t.Errorf("%shistory.md does not have what %s prints", docs, step.args)
		}
		if diff := cmp.Diff(strings.TrimSpace(step.want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.args, diff)
		}
	}
}

// trimLines takes the spaces from the ends of lines.
func trimLines(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// TestHistoryCommandFindsNothing proves that nothing is said to be nothing.
func TestHistoryCommandFindsNothing(t *testing.T) {
	r, reader := remembered(t)
	for _, step := range []struct {
		args string
		want string
	}{
		{"history 203.0.113.7", `
203.0.113.7

first seen  2026-11-23 23:00:04 UTC
last seen   2026-11-26 11:59:59 UTC
requests    1234: 1000 pass, 200 limit, 34 block

there is nothing from 2026-11-19 12:00:00 UTC to 2026-11-26 12:00:00 UTC: --since and --until take another time`},
		{"history 203.0.113.7 --changes", `no verdict about 203.0.113.7 has changed since the history began`},
		{"history --worst networks", `no request was limited, blocked or dropped, or would have been, since the history began`},
		{"history --rules", `nothing was decided since the history began`},
	} {
		if diff := cmp.Diff(strings.TrimSpace(step.want), trimLines(r.run(t, strings.Fields(step.args)...))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.args, diff)
		}
	}
	reader.timeline.Seen = nil
	if got := r.run(t, "history", "2001:db8::5"); got != "2001:db8::/64 is not in the history\n" {
		t.Errorf("of who never came: %q", got)
	}
}

// TestHistoryPages proves that the command which is shown for the next page asks for just that, about the same time.
func TestHistoryPages(t *testing.T) {
	r, reader := remembered(t)
	aWeek(reader)
	const next = "a b'c;$(reboot)"
	reader.timeline.Next, reader.changes.Next, reader.worst.Next, reader.rules.Next = next, next, next, next
	reader.timeline.Period.To = reader.timeline.Period.To.Add(123456789)
	reader.changes.Period, reader.worst.Period, reader.rules.Period = reader.timeline.Period, reader.timeline.Period, reader.timeline.Period
	for args, same := range map[string]string{
		"history 203.0.113.7 --since 7d --limit 5":   "history 203.0.113.7 --limit 5",
		"history 203.0.113.7":                        "history 203.0.113.7",
		"history 203.0.113.7 --changes":              "history 203.0.113.7 --changes",
		"history --worst networks --until 1h":        "history --worst networks",
		"history --rules --since 30d":                "history --rules",
		"history 2001:db8::/48 --since=2026-11-01":   "history 2001:db8::/48",
		"history 203.0.113.7 --since 7d --after abc": "history 203.0.113.7",
	} {
		lines := strings.Split(strings.TrimSpace(r.run(t, strings.Fields(args)...)), "\n")
		reader.questions()
		want := strings.Replace(same, " --limit 5", "", 1) + " --since 2026-11-19T12:00:00Z --until 2026-11-26T12:00:00.123456789Z"
		if strings.Contains(same, "--limit") {
			want += " --limit 5"
		}
		want = "caddy ip-reputation " + want + " --address " + r.adminAddr + ` --after 'a b'\''c;$(reboot)'`
		if last := lines[len(lines)-1]; last != want {
			t.Errorf("%s:\n got %s\nwant %s", args, last, want)
			continue
		}
		shown := strings.Fields(strings.TrimSuffix(strings.TrimPrefix(want, "caddy ip-reputation "), `'a b'\''c;$(reboot)'`))
		if _, problems, err := runCommand(append(shown, next)...); err != nil {
			t.Errorf("the command that is shown: %v\n%s", err, problems)
		}
		asked := reader.questions()
		if len(asked) != 1 {
			t.Errorf("%s: the next page asked %v", args, asked)
			continue
		}
		var after string
		var period history.Period
		switch q := asked[0].(type) {
		case history.Query:
			after, period = q.After, q.Period
		case history.Ranking:
			after, period = q.After, q.Period
		}
		if after != next || period != reader.timeline.Period {
			t.Errorf("%s: the next page asked %+v", args, asked[0])
		}
	}
}

func TestHistoryMistakes(t *testing.T) {
	r, reader := remembered(t)
	for _, tc := range []struct{ args, says string }{
		{"history", "history takes exactly one address or range, such as: caddy ip-reputation history 203.0.113.5; or --worst, or --rules"},
		{"history 203.0.113.5 203.0.113.6", "history takes exactly one address"},
		{"history example.com", `"example.com" is not an IP address`},
		{"history 203.0.113.7/24", "write 203.0.113.7 for the address, or 203.0.113.0/24 for the range"},
		{"history 203.0.113.7 --worst addresses", `--worst and --rules are about all addresses: leave out "203.0.113.7", or the flag`},
		{"history 203.0.113.7 --rules", `leave out "203.0.113.7"`},
		{"history --worst addresses --rules", "two questions"},
		{"history --worst hosts", `--worst "hosts" is not known: write addresses or networks`},
		{"history --worst", "flag needs an argument"},
		{"history --rules --changes", "--changes is about one address or range"},
		{"history 203.0.113.7 --limit 0", "--limit 0 is not a number from 1 to 1000"},
		{"history 203.0.113.7 --limit 1001", "--limit 1001 is not a number from 1 to 1000"},
		{"history 203.0.113.7 --since yesterday", `--since "yesterday" is no time: write a day such as 2026-11-24`},
		{"history 203.0.113.7 --until 24.11.2026", `--until "24.11.2026" is no time`},
		{"history 203.0.113.7 --since 1h --until 2h", "is not before --until"},
		{"history 203.0.113.7 --since 9999-01-01", "lies ahead"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			out, problems, err := runCommand(append([]string{"--address", r.adminAddr}, strings.Fields(tc.args)...)...)
			if err == nil || !strings.Contains(err.Error(), tc.says) || out != "" {
				t.Errorf("printed %q, the error is %v, want %q", out, err, tc.says)
			}
			if lines := strings.Count(strings.TrimSpace(problems), "\n") + 1; lines != 1 {
				t.Errorf("stderr has %d lines:\n%s", lines, problems)
			}
		})
	}
	if asked := reader.questions(); asked != nil {
		t.Errorf("after nothing but mistakes, the database was asked %v", asked)
	}
	reader.err = fmt.Errorf("of 7 days: %w", history.ErrSlow)
	if _, _, err := runCommand("history", "--rules", "--address", r.adminAddr); err == nil || err.Error() != reader.err.Error() {
		t.Errorf("what the database says comes as %v", err)
	}
}

// TestHistoryJSON proves that --json prints what the admin API answers.
func TestHistoryJSON(t *testing.T) {
	r, reader := remembered(t)
	aWeek(reader)
	for args, path := range map[string]string{
		"history 203.0.113.7":           "history/203.0.113.7",
		"history 203.0.113.7 --changes": "history/203.0.113.7?changes",
		"history --worst addresses":     "history?by=address",
		"history --rules":               "history?by=rule",
	} {
		got := into[any](t, reply{body: r.run(t, append(strings.Fields(args), "--json")...)})
		want := into[any](t, r.ask(t, http.MethodGet, path, ""))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-admin API +command):\n%s", args, diff)
		}
	}
}

// TestHistoryForeignText proves that nothing that visitors wrote moves the cursor of a terminal or forges a line.
func TestHistoryForeignText(t *testing.T) {
	const evil = `\u001b[2J\u009b31m\u202e\nunbanned: everything\r\t\u0000`
	body := ""
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.ReplaceAll(body, "EVIL", `"`+evil+`"`)))
	}))
	t.Cleanup(foreign.Close)
	for _, tc := range []struct {
		args, body string
		lines      int
	}{
		{"history 203.0.113.7", `{"prefix":"203.0.113.7/32","period":{},"warning":EVIL,"next":EVIL,
			"seen":{"requests":1,"actions":{EVIL:1}},"graph":{"period":{},"parts":[{"actions":{EVIL:1}}]},
			"entries":[{"decision":{"address":"203.0.113.7/32","host":EVIL,"rule":EVIL,"action":EVIL,"mode":EVIL,"request_id":EVIL}},
			{"verdict":{"subject":"203.0.113.7/32","status":EVIL,"evidence":[{"source":EVIL}]}}]}`, 27},
		{"history 203.0.113.7 --changes", `{"prefix":"203.0.113.7/32","period":{},"next":EVIL,"changes":[{"subject":"203.0.113.7/32","status":EVIL,
			"request_id":EVIL,"because":[{"source":EVIL},{"source":EVIL,"after":1},{"source":EVIL,"before":1,"after":2}]}]}`, 7},
		{"history --worst addresses", `{"period":{},"next":EVIL,"worst":[{"prefix":"203.0.113.7/32"}]}`, 7},
		{"history --rules", `{"period":{},"next":EVIL,"rules":[{"host":EVIL,"rule":EVIL,"action":EVIL,"mode":EVIL}]}`, 7},
	} {
		for _, flags := range []string{"", " --ascii", " --json"} {
			body = tc.body
			args := append(strings.Fields(tc.args+flags), "--address", strings.TrimPrefix(foreign.URL, "http://"))
			out, problems, err := runCommand(args...)
			if err != nil {
				t.Fatalf("%q: %v", args, err)
			}
			if i := strings.IndexFunc(out+problems, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("%q prints %q", args, (out + problems)[i:])
			}
			lines := tc.lines
			if flags == " --json" {
				lines = 1
			}
			if n := strings.Count(out, "\n"); n != lines {
				t.Errorf("%q prints %d lines, want %d:\n%s", args, n, lines, out)
			}
		}
	}
}

// TestHistoryOfAnotherProcess runs the command as a shell does, where the history is not kept.
func TestHistoryOfAnotherProcess(t *testing.T) {
	r := startCaddy(t, newConfig(t))
	cmd := r.caddyCommand(t, "ip-reputation", "history", "203.0.113.7", "--address", r.adminAddr)
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "Error: no history is kept: add `history") {
		t.Errorf("exit code %d, printed %s", cmd.ProcessState.ExitCode(), out)
	}
}
