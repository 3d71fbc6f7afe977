package spend

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

// table writes the results for people.
func table(out io.Writer, t *trace, results []result) error {
	subjects, bad, requests := map[record.Key]bool{}, map[record.Key]bool{}, 0
	for i := range t.requests {
		q := &t.requests[i]
		subjects[record.KeyOf(q.addr)] = true
		if q.abusive {
			bad[record.KeyOf(q.addr)] = true
			requests++
		}
	}
	_, err := fmt.Fprintf(out, "%s: %d requests of %d clients; %d of them, of %d clients, are abusive\n\n",
		t.name, len(t.requests), len(subjects), requests, len(bad))
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "quota\tcalls a day\tspent\tasked\tabuse covered\tat best\ttimes first come\tothers asked\t")
	for i := range results {
		r := &results[i]
		best, others := float64(r.best)/float64(max(r.requests, 1)), float64(r.needless)/float64(max(r.benign, 1))
		fmt.Fprintf(w, "%g %%\t%d\t%s\t%d\t%.1f %%\t%.1f %%\t%.1f\t%.1f %%\t\n",
			r.percent, r.quota, r.way.name, r.asked, 100*r.coverage(), 100*best, times(results, r), 100*others)
	}
	return w.Flush()
}

// times returns how many times the coverage of first come with the same quota a result has.
func times(results []result, r *result) float64 {
	i := slices.IndexFunc(results, func(o result) bool { return o.way == firstCome && o.percent == r.percent })
	if i < 0 || results[i].covered == 0 {
		return 0
	}
	return r.coverage() / results[i].coverage()
}

// asCSV returns the results for programs.
func asCSV(results []result) string {
	var b strings.Builder
	b.WriteString("quota_percent,calls_per_day,spent,asked,abusive_requests,covered,coverage,benign_clients,benign_asked\n")
	for i := range results {
		r := &results[i]
		fmt.Fprintf(&b, "%g,%d,%s,%d,%d,%d,%.4f,%d,%d\n", r.percent, r.quota, strings.ReplaceAll(r.way.name, ",", ""),
			r.asked, r.requests, r.covered, r.coverage(), r.benign, r.needless)
	}
	return b.String()
}
