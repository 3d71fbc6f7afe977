package health

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history/recorder"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/sentry"
)

// lossIsNews is how long after a loss there is a warning.
const lossIsNews = time.Hour

// redis checks Redis. The share is that of the quotas, if there are any.
func (r *Report) redis(s redis.Status, share float64, quotas bool) {
	c := Check{Type: "datastore", Value: "up", Since: s.Since}
	switch {
	case !s.Up:
		c.Value, c.Result = "away", s.Result
		limits := ""
		if quotas {
			limits = fmt.Sprintf(", with at most %v of what was left of each quota (local_share)", share)
		}
		const text, reach = "redis is away since %s, and this instance goes on by itself", "see whether it can be reached from here"
		r.check("redis:connection", c, warning(RedisAway, "",
			text+": see the log, and whether it can be reached from here", FormatTime(s.Since)).
			detail(text+"%s: %s; %s", FormatTime(s.Since), limits, cmp.Or(s.Error, "it has not answered yet"), cmp.Or(s.Cure, reach)))
	case s.Deaf != "":
		const text = "bans of other instances arrive after seconds only, since this one cannot subscribe: "
		r.check("redis:connection", c, warning(RedisUnsubscribed, "", text+"see the log for why").detail(text+"%s", s.Deaf))
	case s.Refused != "":
		const text = "redis answers, but refuses some calls, and what they are for is not shared: "
		r.check("redis:connection", c, warning(RedisRefuses, "", text+"see the log for why").detail(text+"%s", s.Refused))
	case s.Ahead != 0:
		const text = "the clock of redis is %s ahead of this one: quotas are counted alone, and bans may not arrive; " +
			"set both by a time service"
		r.check("redis:connection", c, warning(RedisClock, "", text, time.Duration(s.Ahead)*time.Second))
	default:
		r.check("redis:connection", c, nil)
	}
}

// database checks the database of the history. The check of its upkeep appears only when that fails.
func (r *Report) database(h History) {
	c := Check{Type: "datastore", Value: "up", Since: h.Database.Since}
	switch d := h.Database; {
	case !d.Up:
		c.Value = "away"
		r.check("history:database", c, warning(HistoryAway, "", "the database of the history is away since %s, "+
			"and what it is to keep waits on disk: see the log, and whether it can be reached from here", FormatTime(d.Since)).
			detail("the database of the history is away since %s, and %d entries wait: %s; %s",
				FormatTime(d.Since), h.Recorder.Waiting,
				cmp.Or(d.Error, "it has not answered yet"), cmp.Or(d.Cure, "see whether it can be reached from here")))
	case h.Recorder.Store != nil:
		c.Value = "refuses"
		const text = "the database of the history does not take what waits, %d entries: "
		n := h.Recorder.Waiting
		r.check("history:database", c, warning(HistoryRefused, "", text+"see the log for why", n).
			detail(text+"%s", n, h.Recorder.Store.Error))
	default:
		r.check("history:database", c, nil)
	}
	if why := h.Database.Upkeep; why != "" {
		const text = "the days of the history cannot be looked after: "
		r.check("history:upkeep", Check{Type: "datastore", Value: "failed"},
			warning(HistoryUpkeep, "", text+"see the log for why").detail(text+"%s", why))
	}
}

// recorder checks what waits for the database. The check of the disk appears only when that fails.
func (r *Report) recorder(s recorder.Status, now time.Time) {
	if d := s.Disk; d != nil {
		const text = "the history waits in memory, since it cannot be written to disk: "
		w := warning(HistoryUnsaved, "", text+"see the log for why").detail(text+"%s", d.Error)
		if d.Cure != "" {
			w.Detail += "; " + d.Cure
		}
		r.check("history:disk", Check{Type: "system", Value: "failed"}, w)
	}
	c := Check{Type: "component", Value: s.Waiting, Unit: "entries"}
	if s.Lost == nil || now.Sub(*s.Lost) >= lossIsNews {
		r.check("history:queued", c, nil)
		return
	}
	var lost []string
	for _, reason := range slices.Sorted(maps.Keys(s.Dropped)) {
		if n := s.Dropped[reason]; n > 0 {
			lost = append(lost, fmt.Sprintf("%d %s", n, reason))
		}
	}
	r.check("history:queued", c, warning(HistoryLost, "", "the history has lost entries (%s), the last at %s: "+
		"docs/history.md says what each reason means", strings.Join(lost, ", "), FormatTime(*s.Lost)))
}

// unwritten adds a check only when files cannot be written. The spool of the history has its own.
func (r *Report) unwritten(files []Unwritten) {
	if len(files) == 0 {
		return
	}
	first := files[0]
	what := "a file"
	if len(files) > 1 {
		what = fmt.Sprintf("%d files", len(files))
	}
	const text = "%s of the data folder cannot be written since %s, so that a restart begins without what is new: "
	const cure = "make room on the disk, or let the server write to its data folder"
	since := FormatTime(first.Since)
	r.check("folder:files", Check{Type: "system", Value: len(files), Unit: "files", Since: first.Since},
		warning(FolderUnwritten, "", text+"see the log for why", what, since).
			detail(text+"%s; %s", what, since, first.Error, cure))
}

// sentry adds a check only when reports are lost.
func (r *Report) sentry(s sentry.Status) {
	if s.Problem == "" {
		return
	}
	const text = "errors cannot be reported to sentry, %d got lost: "
	r.check("sentry:reports", Check{Type: "component", Value: "failed"},
		warning(SentryUndelivered, "", text+"see the log for why", s.Undelivered).
			detail(text+"%s", s.Undelivered, s.Problem))
}
