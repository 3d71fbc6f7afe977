package command

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

const (
	defaultSince   = "7d"  // of an address
	defaultRanking = "24h" // of all
	defaultEntries = 20
)

// historyFlags are the flags of `history`.
type historyFlags struct {
	since, until, after string
	worst, request      string
	rules, changes      bool
	limit               int
	ascii               bool
}

func (c *console) historyCommand() *cobra.Command {
	var f historyFlags
	cmd := &cobra.Command{
		Use:   "history <ip|cidr> [--changes] | --worst <what> | --rules | --request <id> [--since <time>] [--until <time>] [--json]",
		Short: "Shows what was known of an address over time, and what was decided",
		Long: `
Shows when an IP address or a CIDR range was seen, a plot of its score above its
requests, and what was decided and why, the latest first; with --changes what
changed its score. An IPv6 address stands for its /64 network.
With --worst, the addresses or networks of which most requests were limited,
blocked or dropped, or would have been, on all sites; with --rules, how often
each rule decided. With --request, what was decided about a request: the history
has the ID of the first of the equal requests of an address in a minute.

Times are days (2026-11-24, in UTC, the end of --until is included), times of
RFC 3339, or how long ago (24h, 7d). The plot is as wide as the terminal, or as
COLUMNS says, and of ASCII where the locale is not one of UTF-8.
`,
		Example: `  $ caddy ip-reputation history 203.0.113.5
  $ caddy ip-reputation history 203.0.113.0/24 --since 2026-11-24 --until 2026-11-24
  $ caddy ip-reputation history 203.0.113.5 --changes
  $ caddy ip-reputation history --worst networks --since 7d
  $ caddy ip-reputation history --rules`,
		Args: cobra.ArbitraryArgs, // historyFlags.check knows which are allowed
		RunE: func(cmd *cobra.Command, args []string) error { return c.history(cmd, args, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.since, "since", "",
		"From when on (default "+defaultSince+", with --worst and --rules "+defaultRanking+")")
	flags.StringVar(&f.until, "until", "", "Until when (default now)")
	flags.BoolVar(&f.changes, "changes", false, "Show what changed the score")
	flags.StringVar(&f.worst, "worst", "", "Show the worst of all: `addresses or networks`")
	flags.StringVar(&f.request, "request", "", "Show what was decided about the request with this `ID`")
	flags.BoolVar(&f.rules, "rules", false, "Show what rules decided about all")
	flags.IntVar(&f.limit, "limit", defaultEntries, "How many entries are shown, up to "+strconv.Itoa(history.MaxLimit))
	flags.StringVar(&f.after, "after", "", "Go on where a page ended, as it says")
	flags.BoolVar(&f.ascii, "ascii", false, "Draw with ASCII characters (default: when the locale is not UTF-8)")
	return cmd
}

// history sends the question that the flags make.
func (c *console) history(cmd *cobra.Command, args []string, f historyFlags) error {
	if err := f.check(args); err != nil {
		return err
	}
	if !cmd.Flags().Changed("ascii") {
		f.ascii = !localeIsUTF8(runtime.GOOS, os.Getenv)
	}
	view := historyView{width: plotWidth(cmd.OutOrStdout(), os.Getenv), ascii: f.ascii}
	view.more = func(next string, period history.Period) string { return c.nextPage(args, f, next, period) }
	switch {
	case f.request != "":
		query := url.Values{"history": {""}, "from": {cmp.Or(f.since, defaultRanking)}}
		if f.until != "" {
			query.Set("to", f.until)
		}
		return c.showRequest(cmd, f.request, query)
	case f.rules:
		return show(c, cmd, http.MethodGet, "history?"+f.query(defaultRanking, "by", adminapi.ByRule), nil, view.rules)
	case f.worst != "":
		by := adminapi.ByAddress
		if f.worst == worstNetworks {
			by = adminapi.ByNetwork
		}
		view.networks = by == adminapi.ByNetwork
		return show(c, cmd, http.MethodGet, "history?"+f.query(defaultRanking, "by", by), nil, view.worst)
	}
	prefix, err := address.ParsePrefix(args[0])
	if err != nil {
		return err
	}
	path := "history/" + escape(prefix) + "?"
	if f.changes {
		return show(c, cmd, http.MethodGet, path+f.query(defaultSince, "changes", ""), nil, view.changes)
	}
	parts := strconv.Itoa(plotColumns(view.width))
	return show(c, cmd, http.MethodGet, path+f.query(defaultSince, "parts", parts), nil, view.timeline)
}

const (
	worstAddresses = "addresses"
	worstNetworks  = "networks"
)

// check refuses flags that contradict each other.
func (f *historyFlags) check(args []string) error {
	ranking := f.worst != "" || f.rules
	switch {
	case f.request != "" && (ranking || f.changes || f.after != "" || len(args) > 0):
		return errors.New("--request is a question of its own: leave out the address and all flags but --since and --until")
	case f.worst != "" && f.rules:
		return errors.New("--worst and --rules are two questions: leave out one")
	case ranking && len(args) > 0:
		return fmt.Errorf("--worst and --rules are about all addresses: leave out %q, or the flag", args[0])
	case ranking && f.changes:
		return errors.New("--changes is about one address or range: leave it out, " +
			"or name one instead of --worst and --rules")
	case f.worst != "" && f.worst != worstAddresses && f.worst != worstNetworks:
		return fmt.Errorf("--worst %q is not known: write %s or %s", f.worst, worstAddresses, worstNetworks)
	case !ranking && f.request == "" && (len(args) != 1 || args[0] == ""):
		return errors.New("history takes exactly one address or range, such as: " +
			"caddy ip-reputation history 203.0.113.5; or --worst, or --rules")
	case f.limit < 1 || f.limit > history.MaxLimit:
		return fmt.Errorf("--limit %d is not a number from 1 to %d", f.limit, history.MaxLimit)
	}
	var p history.Period
	var err error
	now := time.Now()
	if f.since != "" {
		if p.From, err = adminapi.ParsePast("--since", f.since, now, false); err != nil {
			return err
		}
	}
	if f.until != "" {
		if p.To, err = adminapi.ParsePast("--until", f.until, now, true); err != nil {
			return err
		}
	}
	return adminapi.CheckPeriod(p, now, "--since", "--until")
}

// query encodes the flags as the query of a URL, with one more word.
func (f *historyFlags) query(since, word, value string) string {
	q := url.Values{"from": {cmp.Or(f.since, since)}, "limit": {strconv.Itoa(f.limit)}, word: {value}}
	if f.until != "" {
		q.Set("to", f.until)
	}
	if f.after != "" {
		q.Set("after", f.after)
	}
	return q.Encode()
}

// nextPage returns the command that shows the next page of the same period.
func (c *console) nextPage(args []string, f historyFlags, next string, period history.Period) string {
	words := append([]string{"caddy", "ip-reputation", "history"}, args...)
	flag := func(name, value string) {
		if value != "" {
			words = append(words, "--"+name, value)
		}
	}
	given := func(name string, is bool) {
		if is {
			words = append(words, "--"+name)
		}
	}
	flag("worst", f.worst)
	given("rules", f.rules)
	given("changes", f.changes)
	flag("since", exactTime(period.From))
	flag("until", exactTime(period.To))
	if f.limit != defaultEntries {
		flag("limit", strconv.Itoa(f.limit))
	}
	flag("address", c.address)
	flag("config", c.config)
	flag("adapter", c.adapter)
	flag("after", next)
	for i := range words {
		words[i] = shellWord(words[i])
	}
	return strings.Join(words, " ")
}

func exactTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
