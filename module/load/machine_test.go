package load_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// moment is what the machine's processors have done so far, in clock ticks. Of a machine that does not say so, it is zero.
type moment struct {
	all   float64 // time that has passed, of all processors
	busy  float64 // for anybody, other machines on the same hardware included; not for interrupts, which are nobody's
	own   float64 // for us: this process and all that it has started
	known bool
}

// now reads Linux's /proc.
func now() moment {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return moment{}
	}
	m, err := totals(string(stat))
	if err != nil {
		return moment{}
	}
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well-formed
	var processes []string
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil { // else it has ended
			processes = append(processes, string(text))
		}
	}
	m.own = family(os.Getpid(), processes)
	return m
}

// totals reads the first line of /proc/stat.
func totals(stat string) (m moment, _ error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return m, errors.New("not Linux's /proc/stat")
	}
	for i, field := range fields[1:9] { // user nice system idle iowait irq softirq steal
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return m, err
		}
		m.all += ticks
		if i < 3 || i == 7 {
			m.busy += ticks
		}
	}
	m.known = true
	return m, nil
}

// family adds up what a process and its descendants have used, and those of theirs that have ended. The texts are /proc/…/stat.
func family(of int, stats []string) float64 {
	type process struct {
		parent int
		ticks  float64
	}
	all := map[int]process{}
	for _, text := range stats {
		// 7 (any name) S 1 …
		number, rest, _ := strings.Cut(text, " ")
		fields := strings.Fields(rest[strings.LastIndexByte(rest, ')')+1:])
		pid, err := strconv.Atoi(number)
		if err != nil || len(fields) < 15 {
			continue
		}
		p := process{}
		p.parent, _ = strconv.Atoi(fields[1])
		for _, field := range fields[11:15] { // of itself and of its ended children, in user mode and in the kernel
			ticks, _ := strconv.ParseFloat(field, 64)
			p.ticks += ticks
		}
		all[pid] = p
	}
	var sum float64
	for pid, p := range all {
		for ancestor := pid; ancestor > 1; ancestor = all[ancestor].parent {
			if ancestor == of {
				sum += p.ticks
				break
			}
		}
	}
	return sum
}

// others returns the share of the processors' time that somebody else took between two moments, and whether that is known.
func others(from, to moment) (share float64, known bool) {
	if !from.known || !to.known || to.all <= from.all {
		return 0, false
	}
	return max(0, to.busy-from.busy-(to.own-from.own)) / (to.all - from.all), true
}

// percent writes a share, for the table of runs.
func percent(share float64, known bool) string {
	if !known {
		return "?"
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}
