package health

import (
	"cmp"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
)

const (
	// staleAfter is how long a list without Patience may go unconfirmed after a failure.
	staleAfter = day

	// failuresAreNews is how many attempts to fetch a list must fail in a row until there is a
	// warning: some minutes, since it is tried again after one minute, two and so on. A file is not
	// mended by trying again, so that its first failure counts.
	failuresAreNews = 3
)

func (r *Report) list(l List, now time.Time) {
	c := Check{ID: l.Name, Type: "component", Value: l.Entries, Unit: "entries", Time: l.LastSuccess, Role: l.Role}
	failed := failed(l.LastResult)
	if failed {
		c.Result = l.LastResult
	}
	r.check("lists:entries", c, listWarning(l, failed, now))
}

// ListProblem says for operators what is wrong with a list, behind its name, or nothing.
func ListProblem(l List, now time.Time) string {
	if l.Failures > 0 || !l.Loaded {
		return l.LastError
	}
	if w := listWarning(l, failed(l.LastResult), now); w != nil {
		return strings.TrimLeft(strings.TrimPrefix(w.ForOperators(), "list "+l.Name), ": ")
	}
	return ""
}

func listWarning(l List, failed bool, now time.Time) *Warning {
	switch {
	case !l.Loaded:
		w := warning(ListEmpty, l.Name, "list %s has no contents yet: see the log for why", l.Name)
		if l.LastError == "" {
			return w.detail("list %s has no contents yet", l.Name)
		}
		return w.detail("list %s has no contents: %s", l.Name, l.LastError)

	case (l.Patience > 0 || failed) && now.Sub(l.LastSuccess) > cmp.Or(l.Patience, staleAfter):
		confirmed := FormatTime(l.LastSuccess)
		w := warning(ListStale, l.Name, "list %s was last confirmed at %s, and what it held then is in force: "+
			"see the log for why", l.Name, confirmed)
		if l.LastError == "" {
			return w
		}
		return w.detail("list %s is not the newest, what was confirmed at %s is in force: %s",
			l.Name, confirmed, l.LastError)

	case failed && (l.Kind == feed.KindFile || l.Failures >= failuresAreNews):
		const text = "list %s is not the newest, what was last good of it is in force: "
		return warning(ListFailing, l.Name, text+"see the log for why", l.Name).detail(text+"%s", l.Name, l.LastError)

	case l.LastResult == feed.ResultNotStored.String():
		const text = "list %s is in force but cannot be kept on disk, so a restart has no copy of it: "
		return warning(ListNotStored, l.Name, text+"see the log for why", l.Name).detail(text+"%s", l.Name, l.LastError)

	case l.Old(now) && l.Role == "bots":
		return warning(ListOld, l.Name, "list %s was last changed by its publisher at %s: a client that claims this bot and "+
			"is not on the list is not told to be fake any more; if the list has moved, write its URL behind `ranges` "+
			"in the block of `verified_bots`", l.Name, FormatTime(l.Published))

	case l.Old(now):
		return warning(ListOld, l.Name, "list %s was last changed by its publisher at %s: see whether the publisher still "+
			"keeps it up, and take it out if not, or raise `max_age`", l.Name, FormatTime(l.Published))

	case l.FirstIgnored != "" && l.Role != "feed" && l.Role != "bots":
		const text = "list %s: %d wrong lines are not in force"
		return warning(ListWrongLines, l.Name, text+": see the log for the first", l.Name, l.Ignored).
			detail(text+", the first is %s", l.Name, l.Ignored, l.FirstIgnored)

	case l.SameAs != "":
		return warning(ListRepeated, l.Name, "lists %s and %s have the same contents and count once: remove one of them",
			l.SameAs, l.Name)
	}
	return nil
}

// failed reports whether a result is that of a failed refresh.
func failed(result string) bool {
	switch result {
	case "", feed.ResultOK.String(), feed.ResultUnchanged.String(), feed.ResultNotStored.String():
		return false
	}
	return true
}
