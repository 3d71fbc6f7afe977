package load_test

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What the test asks for.
const (
	mostErrors  = 0.01            // of the requests, in each stage
	mostLatency = 2 * time.Second // p99 at 100 requests a second
	mostAdded   = 5 * time.Millisecond
	mostOthers  = 0.05 // of the processors' time in each run of the second stage: what is measured beside other work proves nothing
	leastRate   = 0.95 // of the rate that was asked for: what was sent more slowly proves nothing
)

// summary is what a run comes to.
type summary struct {
	requests                int
	rate                    float64 // a second
	errors                  int     // answers that this client should not get, and none
	p50, p99, p999, longest time.Duration
	cpu                     time.Duration // a request
	example                 string        // of an error
}

// summary returns what the run comes to.
func (r *run) summary() summary {
	var s summary
	var took []time.Duration
	var first, last time.Time
	for i := range r.results {
		res := &r.results[i]
		took = append(took, res.took)
		if first.IsZero() || res.at.Before(first) {
			first = res.at
		}
		if res.at.After(last) {
			last = res.at
		}
		if !res.kind.right(res.status, r.plain) {
			s.errors++
			s.example = fmt.Sprintf("%s: %d %s", res.kind, res.status, res.failure)
		}
	}
	s.requests = len(took)
	if s.requests == 0 {
		return s
	}
	slices.Sort(took)
	if span := last.Sub(first); span > 0 {
		s.rate = float64(s.requests-1) / span.Seconds()
	}
	s.p50, s.p99, s.p999, s.longest = quantile(took, 0.5), quantile(took, 0.99), quantile(took, 0.999), took[len(took)-1]
	s.cpu = r.cpu / time.Duration(len(r.results))
	return s
}

// quantile returns the smallest value that is no less than the share q of all, which are sorted.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func median[T float64 | time.Duration](of []T) T {
	sorted := slices.Sorted(slices.Values(of))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

// stage is runs at one rate, alternately against plain Caddy and with us. The first and the last are plain, so that each run
// with us has a neighbour before and after it, and what the machine did meanwhile shows as a difference between them.
type stage struct {
	name string
	rate int // 0: as fast as it goes
	runs []*run
}

// each returns one number of every run of a kind.
func each[T any](s *stage, plain bool, number func(summary) T) (all []T) {
	for _, r := range s.runs {
		if r.plain == plain {
			all = append(all, number(r.summary()))
		}
	}
	return all
}

func p99(s summary) time.Duration { return s.p99 }

// added returns by how much p99 with us is above that of the neighbours, for each run with us; and by how much two neighbours
// differ, which is what the number cannot be more exact than.
func (s *stage) added() (added, noise []time.Duration) {
	for i, r := range s.runs {
		if r.plain || i == 0 || i == len(s.runs)-1 {
			continue
		}
		before, after := s.runs[i-1].summary().p99, s.runs[i+1].summary().p99
		added = append(added, r.summary().p99-(before+after)/2)
		noise = append(noise, max(before-after, after-before))
	}
	return added, noise
}

// verdict is a condition, and whether it holds.
type verdict struct {
	what string
	ok   bool
}

// judge says what the stage was to prove.
func (s *stage) judge(promise func(*stage) []verdict) (all []verdict) {
	for _, plain := range []bool{false, true} {
		var sum, errors int
		var example string
		for _, r := range s.runs {
			if r.plain == plain {
				one := r.summary()
				sum, errors = sum+one.requests, errors+one.errors
				if one.errors > 0 {
					example = ", such as " + one.example
				}
			}
		}
		share := float64(errors) / float64(max(sum, 1))
		all = append(all, verdict{
			fmt.Sprintf("%s, %s: %.3f %% of %d answers are wrong%s; less than %.0f %%", s.name, name(plain), 100*share, sum, example, 100*mostErrors),
			sum > 0 && share < mostErrors,
		})
		if rates := each(s, plain, func(one summary) float64 { return one.rate }); s.rate > 0 && len(rates) > 0 {
			slowest := slices.Min(rates)
			all = append(all, verdict{
				fmt.Sprintf("%s, %s: %.0f requests a second were sent, at least %.0f", s.name, name(plain), slowest, leastRate*float64(s.rate)),
				slowest >= leastRate*float64(s.rate),
			})
		}
	}
	if promise != nil {
		all = append(all, promise(s)...)
	}
	return all
}

// quick is the promise of the first stage.
func quick(s *stage) []verdict {
	worst := slices.Max(each(s, false, p99))
	return []verdict{{fmt.Sprintf("%s, with us: p99 is %s ms, less than %s", s.name, ms(worst), mostLatency), worst < mostLatency}}
}

// addsLittle is the promise of the second, and that the machine was quiet enough to tell.
func addsLittle(s *stage) []verdict {
	added, noise := s.added()
	more, differ, foreign := median(added), median(noise), 0.0
	for _, r := range s.runs {
		foreign = max(foreign, r.others)
	}
	return []verdict{
		{fmt.Sprintf("%s: %s ms are added to p99 (%s), less than %s", s.name, ms(more), spread(added, ms), mostAdded), more < mostAdded},
		{
			fmt.Sprintf("%s: plain runs beside each other differ by %s ms (%s), less than %s: else the machine is too busy to tell",
				s.name, ms(differ), spread(noise, ms), mostAdded),
			differ < mostAdded,
		},
		{
			fmt.Sprintf("%s: others took up to %s of the processors' time, at most %s: else the machine is too busy to tell",
				s.name, percent(foreign, true), percent(mostOthers, true)),
			foreign <= mostOthers,
		},
	}
}

func name(plain bool) string {
	if plain {
		return "plain"
	}
	return "with us"
}

// ms writes a time in milliseconds, with as many digits as are worth reading.
func ms(d time.Duration) string { return digits(float64(d) / float64(time.Millisecond)) }

func us(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }

func digits(v float64) string {
	switch {
	case math.Abs(v) >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case math.Abs(v) >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func whole(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) }

// spread writes the least and the most.
func spread[T float64 | time.Duration](of []T, write func(T) string) string {
	return write(slices.Min(of)) + " to " + write(slices.Max(of))
}

// middle writes the median and, where they differ, the spread.
func middle[T float64 | time.Duration](of []T, write func(T) string) string {
	if write(slices.Min(of)) == write(slices.Max(of)) {
		return write(of[0])
	}
	return write(median(of)) + " (" + spread(of, write) + ")"
}

// table writes the stages in Markdown: medians of the runs, in brackets their spread.
func table(stages []*stage) string {
	var b strings.Builder
	fmt.Fprintln(&b, "| | | requests/s | wrong | p50, ms | p99, ms | p99.9, ms | longest, ms | CPU a request, µs |")
	fmt.Fprintln(&b, "|---|---|---|---|---|---|---|---|---|")
	for _, s := range stages {
		for _, plain := range []bool{true, false} {
			times := func(number func(summary) time.Duration) string { return middle(each(s, plain, number), ms) }
			wrong := 0
			for _, n := range each(s, plain, func(one summary) int { return one.errors }) {
				wrong += n
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %d | %s | %s | %s | %s | %s |\n", s.name, name(plain),
				middle(each(s, plain, func(one summary) float64 { return one.rate }), whole), wrong,
				times(func(one summary) time.Duration { return one.p50 }), times(p99),
				times(func(one summary) time.Duration { return one.p999 }), times(func(one summary) time.Duration { return one.longest }),
				middle(each(s, plain, func(one summary) time.Duration { return one.cpu }), us))
		}
	}
	return b.String()
}

// crowdTable writes, in Markdown, what clients of each kind got from the runs with us.
func crowdTable(s *stage) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s, with us | requests | answers | p50, ms | p99, ms |\n|---|---|---|---|---|\n", s.name)
	for _, k := range kinds {
		all := run{}
		answers := map[int]int{}
		for _, r := range s.runs {
			for i := range r.results {
				if !r.plain && r.results[i].kind == k {
					all.results = append(all.results, r.results[i])
					answers[r.results[i].status]++
				}
			}
		}
		var words []string
		for _, status := range []int{200, 403, 429} {
			if n := answers[status]; n > 0 {
				words = append(words, fmt.Sprintf("%d: %d", status, n))
			}
			delete(answers, status)
		}
		for status, n := range answers {
			words = append(words, fmt.Sprintf("%d: %d", status, n))
		}
		one := all.summary()
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s |\n", k, one.requests, strings.Join(words, ", "), ms(one.p50), ms(one.p99))
	}
	return b.String()
}

var buckets = []time.Duration{
	200 * time.Microsecond, 300 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond,
	5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, time.Second,
}

// histogram draws, for a terminal, how many requests of a stage took how long.
func histogram(s *stage) string {
	var counts [2][]int
	var sums [2]int
	for side := range counts {
		counts[side] = make([]int, len(buckets)+1)
		for _, r := range s.runs {
			if r.plain != (side == 0) {
				continue
			}
			for i := range r.results {
				n, _ := slices.BinarySearch(buckets, r.results[i].took)
				counts[side][n]++
				sums[side]++
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-12s %-34s %s\n", s.name, name(true), name(false))
	for n := range len(buckets) + 1 {
		label := "longer"
		if n < len(buckets) {
			label = "to " + buckets[n].String()
		}
		fmt.Fprintf(&b, "%-12s", label)
		for side := range counts {
			share := float64(counts[side][n]) / float64(max(sums[side], 1))
			bar := int(math.Ceil(share * 24))
			line := fmt.Sprintf(" %8.4f %% %s", 100*share, strings.Repeat("█", bar))
			b.WriteString(line + strings.Repeat(" ", max(0, 35-len([]rune(line)))*(1-side)))
		}
		b.WriteByte('\n')
	}
	return b.String()
}
