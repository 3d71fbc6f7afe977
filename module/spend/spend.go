// Package spend shows what a quota is worth: it replays a day of requests, generated or from access logs, and compares
// how much abuse was known by the time it came, if a service is asked about whoever comes first, and where it matters.
package spend

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Main is the command `bench/spend` with the given arguments.
func Main(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("spend", flag.ContinueOnError)
	flags.SetOutput(out)
	subjects := flags.Int("subjects", 50_000, "how many clients the generated day has")
	seed := flags.Uint64("seed", 1, "the seed of the generated day")
	files := flags.Bool("files", true, "the visitors of the generated day load the files that pages show")
	log := flags.String("log", "", "replay this access log (combined format) instead of a generated day")
	attackers := flags.String("attackers", "", "replay this one beside it: its clients are those who abuse the site")
	logins := flags.String("logins", "", "paths of log-ins in the logs, separated by commas")
	priority := flags.Bool("priority", true, "the site says by its option priority that log-ins matter")
	failed := flags.String("failed", "401", "statuses of a POST there that has failed, separated by commas")
	quotas := flags.String("quota", "0.5,1,2,5,10,20,50", "calls a day, in percent of the clients a day")
	csv := flags.String("csv", "", "write the numbers to this file")
	svg := flags.String("svg", "", "write a plot to this file")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	percents, err := percentsOf(*quotas)
	if err != nil {
		return err
	}
	var t *trace
	var without []string
	if *log == "" {
		t = generate(max(*subjects, 100), *seed, *files)
	} else if t, without, err = readTrace(*log, *attackers, split(*logins), split(*failed)); err != nil {
		return err
	}
	t.priority = *priority
	results, err := compare(t, percents, without...)
	if err != nil {
		return err
	}
	if err := table(out, t, results); err != nil {
		return err
	}
	for file, content := range map[string]string{*csv: asCSV(results), *svg: plot(t, results)} {
		if file == "" {
			continue
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			return fmt.Errorf("writing the results: %w", err)
		}
	}
	return nil
}

// compare replays a trace with each quota in each way. The violations that are left out count for nobody.
func compare(t *trace, percents []float64, without ...string) (results []result, err error) {
	rules, err := newRules(t, without...)
	if err != nil {
		return nil, err
	}
	for _, w := range []way{unpaced, firstCome, matters} {
		for _, percent := range percents {
			r, err := run(t, rules, w, percent)
			if err != nil {
				return nil, err
			}
			results = append(results, r)
		}
	}
	return results, nil
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(c rune) bool { return c == ',' })
}

// percentsOf reads the quotas of the command line.
func percentsOf(list string) (percents []float64, err error) {
	for _, word := range split(list) {
		p, err := strconv.ParseFloat(word, 64)
		if err != nil || !(p > 0 && p <= 100) {
			return nil, fmt.Errorf("a quota of %q: write percents above 0 to 100, such as 1,2,5", word)
		}
		percents = append(percents, p)
	}
	if len(percents) == 0 {
		return nil, errors.New("no quota is given: write percents, such as 1,2,5")
	}
	return percents, nil
}
