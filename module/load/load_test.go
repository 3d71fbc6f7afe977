// Package load_test is the load test, `make load`: the whole stack under vegeta, beside plain Caddy.
//
// It is a test so that it can start the servers that tests start, and does nothing without IPREP_LOAD: it takes eight minutes
// and a machine of its own. A variable, and no build tag, so that what belongs to it is compiled, linted and tested with the rest.
package load_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What tells the test to run, and how.
const (
	folderVariable   = "IPREP_LOAD"          // the folder with the caddy to measure; reports are written there
	vegetaVariable   = "IPREP_LOAD_VEGETA"   // the program
	rateVariable     = "IPREP_LOAD_RATE"     // requests a second of the second stage
	durationVariable = "IPREP_LOAD_DURATION" // of a run
)

const (
	promisedRate = 100
	rounds       = 3
)

// bench is what runs share.
type bench struct {
	stack          *stack
	folder, vegeta string
	newcomer       int
}

// TestLoad proves what we promise under load: at 100 requests a second fewer than 1 % of the answers are wrong and p99 is below
// 2 s; at 5000, p99 is less than 5 ms above that of plain Caddy. Then it finds the machine's limit.
func TestLoad(t *testing.T) {
	folder := os.Getenv(folderVariable)
	if folder == "" {
		t.Skip("it takes minutes and a machine of its own: make load")
	}
	rate, err := strconv.Atoi(os.Getenv(rateVariable))
	if err != nil {
		t.Fatalf("%s: %v", rateVariable, err)
	}
	duration, err := time.ParseDuration(os.Getenv(durationVariable))
	if err != nil {
		t.Fatalf("%s: %v", durationVariable, err)
	}
	began := time.Now()
	b := &bench{folder: folder, vegeta: os.Getenv(vegetaVariable)}
	b.stack = startStack(t, filepath.Join(folder, "caddy"))
	say("%d clients are known, %d prefixes are on lists; ready after %.0f s", crowds[known], lists*prefixes, time.Since(began).Seconds())

	first := b.measure(t, promisedRate, duration, 1)
	second := b.measure(t, rate, duration, rounds)
	took := b.stack.account(t)
	limit := b.measure(t, 0, duration/3, rounds)

	stages := []*stage{first, second, limit}
	verdicts := append(first.judge(quick), second.judge(addsLittle)...)
	verdicts = append(verdicts, took...)
	verdicts = append(verdicts, limit.judge(nil)...)
	report := b.report(t, stages, verdicts)
	fmt.Print("\n", report)
	if err := os.WriteFile(filepath.Join(folder, "report.md"), []byte(report), 0o600); err != nil {
		t.Error(err)
	}
	for _, v := range verdicts {
		if !v.ok {
			t.Error(v.what)
		}
	}
}

// measure runs a stage: plain, with us, plain, and so on.
func (b *bench) measure(t *testing.T, rate int, duration time.Duration, rounds int) *stage {
	t.Helper()
	s := &stage{name: fmt.Sprintf("%d/s", rate), rate: rate}
	if rate == 0 {
		s.name = "limit"
	}
	file := strings.Replace(s.name, "/s", "-per-second", 1)
	for i := range 2*rounds + 1 {
		side := "with-us"
		if i%2 == 0 {
			side = "plain"
		}
		r := b.attack(t, fmt.Sprintf("%s-%s-%d", file, side, i/2+1), i%2 == 0, rate, duration)
		s.runs = append(s.runs, r)
		one := r.summary()
		say("%-7s %-8s %6.0f requests/s, %d wrong, p50 %s, p99 %s, p99.9 %s, longest %s ms; others took %s",
			s.name, name(r.plain), one.rate, one.errors, ms(one.p50), ms(one.p99), ms(one.p999), ms(one.longest), percent(r.others, r.known))
		b.plot(t, r)
		b.stack.settle(t)
	}
	say("%s", b.draw(t, s, file))
	return s
}

// settle waits until the database has what was recorded, so that the next run, which may be plain, does not pay for it.
func (s *stack) settle(t *testing.T) {
	t.Helper()
	s.with.await(t, "the database has everything", func(m metrics) bool { return m.sum("history_queued") == 0 })
}

// account proves that all parts of the stack had their part: else the numbers are those of something else.
func (s *stack) account(t *testing.T) []verdict {
	t.Helper()
	m := s.with.metrics(t)
	stored, err := strconv.ParseFloat(s.database.SQL("SELECT coalesce(sum(count), 0) FROM ip_reputation.decisions"), 64)
	if err != nil {
		t.Fatal(err)
	}
	requests, dropped := m.sum("requests_total"), m.sum("history_dropped_total")
	calls, failed, shared := s.calls.Load(), s.failed.Load(), m.sum("redis_requests_total", `result="ok"`)
	return []verdict{
		{fmt.Sprintf("the history has %.0f of %.0f requests", stored, requests), requests > 0 && stored == requests && dropped == 0},
		{fmt.Sprintf("the provider was asked %d times, and failed %d times", calls, failed), failed > 0},
		{fmt.Sprintf("Redis was asked %.0f times", shared), shared > 0},
	}
}

// report writes everything, in Markdown.
func (b *bench) report(t *testing.T, stages []*stage, verdicts []verdict) string {
	t.Helper()
	var r strings.Builder
	fmt.Fprintf(&r, "%s, %s/%s, %d processors, for everything: vegeta, Caddy, Redis, PostgreSQL and the stand-ins. Of their time, others took",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for _, s := range stages {
		fmt.Fprintf(&r, " at %s:", s.name)
		for _, one := range s.runs {
			fmt.Fprintf(&r, " %s", percent(one.others, one.known))
		}
		r.WriteByte(';')
	}
	fmt.Fprintf(&r, "\n\n%s\n", table(stages))
	for _, s := range stages[:2] {
		fmt.Fprintf(&r, "%s\n", crowdTable(s))
	}
	for _, s := range stages {
		fmt.Fprintf(&r, "```\n%s```\n\n", histogram(s))
	}
	for _, v := range verdicts {
		word := "FAIL"
		if v.ok {
			word = "ok  "
		}
		fmt.Fprintf(&r, "- %s %s\n", word, v.what)
	}
	return r.String()
}

// say tells who watches how far it is.
func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }
