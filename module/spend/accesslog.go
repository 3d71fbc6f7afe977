package spend

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
)

const (
	maxLine  = 64 << 10
	maxLines = 20_000_000
)

// readTrace reads an access log, and the one of attackers, if there is one: its days are laid over those of the other.
// Without it, those clients are abusive that ask anywhere in the log for what `violations default` takes for a trap or a
// probe. The replay must not know more than a site could, so these two violations are left out then: without are their
// names.
func readTrace(log, attackers string, logins, failed []string) (t *trace, without []string, err error) {
	t = &trace{name: filepath.Base(log), listed: map[record.Key]bool{}, logins: logins, failed: failed}
	if t.requests, err = readLog(log); err != nil {
		return nil, nil, err
	}
	t.sort()
	if attackers == "" {
		return t, []string{"trap", "probe"}, t.labelProbers()
	}
	t.name += " and " + filepath.Base(attackers)
	others, err := readLog(attackers)
	if err != nil {
		return nil, nil, err
	}
	first, last := t.requests[0].at.UTC().Truncate(day), t.requests[len(t.requests)-1].at
	from := others[0].at
	for i := range others {
		if others[i].at.Before(from) {
			from = others[i].at
		}
	}
	shift := first.Sub(from.UTC().Truncate(day))
	for _, q := range others {
		if q.at, q.abusive = q.at.Add(shift), true; !q.at.After(last) {
			t.requests = append(t.requests, q)
		}
	}
	t.sort()
	return t, nil, nil
}

// labelProbers marks the requests of clients that ask for traps or probe.
func (t *trace) labelProbers() error {
	all, err := newRules(t, "not_found", "login_failed")
	if err != nil {
		return err
	}
	probers := map[record.Key]bool{}
	for i := range t.requests {
		if len(all.violations(&t.requests[i])) > 0 {
			probers[record.KeyOf(t.requests[i].addr)] = true
		}
	}
	if len(probers) == 0 {
		return fmt.Errorf("%s: nobody is abusive, since no client asks for what `violations default` takes for a trap "+
			"or a probe: name a log of clients that are by -attackers", t.name)
	}
	for i := range t.requests {
		t.requests[i].abusive = probers[record.KeyOf(t.requests[i].addr)]
	}
	return nil
}

// readLog reads a file in the combined or the common format. Lines that are of neither are left out.
func readLog(file string) ([]request, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading an access log: %w", err)
	}
	defer func() { _ = f.Close() }()
	requests, err := parseLog(f)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	if len(requests) == 0 {
		return nil, fmt.Errorf("%s has no line of the combined log format with an IP address", file)
	}
	if hoursOnly(requests) {
		spread(requests)
	}
	return requests, nil
}

// hoursOnly reports whether the times of a log are true to the hour only: those of some sample logs are all in the same
// minute. Replayed like that, a crowd would come at once, and leave the rest of the hour to everybody else.
func hoursOnly(requests []request) bool {
	hours := map[time.Time]bool{}
	for i := range requests {
		if requests[i].at.Minute() != requests[0].at.Minute() {
			return false
		}
		hours[requests[i].at.Truncate(time.Hour)] = true
	}
	return len(hours) >= 10 && len(requests) >= 10*len(hours)
}

// spread makes the requests of a client in an hour one visit, with a second between them, which begins at any time of
// the hour. They stay in the order of the log.
func spread(requests []request) {
	random, next := rand.New(rand.NewPCG(1, 16)), map[visit]time.Time{}
	for i := range requests {
		q := &requests[i]
		id := visit{record.KeyOf(q.addr), q.at.Truncate(time.Hour)}
		at, begun := next[id]
		if !begun {
			at = id.hour.Add(time.Duration(random.Int64N(int64(time.Hour))))
		}
		q.at, next[id] = at, at.Add(time.Second)
	}
}

// visit is a client in an hour.
type visit struct {
	client record.Key
	hour   time.Time
}

func parseLog(from io.Reader) (requests []request, err error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLine)
	for n := 0; lines.Scan(); n++ {
		if n == maxLines {
			return nil, fmt.Errorf("there are more than %d lines: split the file", maxLines)
		}
		if q, ok := parseLine(lines.Text()); ok {
			requests = append(requests, q)
		}
	}
	return requests, lines.Err()
}

// parseLine reads a line such as `192.0.2.1 - - [02/Jan/2006:15:04:05 -0700] "GET / HTTP/1.1" 200 …`.
func parseLine(line string) (q request, ok bool) {
	client, rest, _ := strings.Cut(line, " ")
	addr, err := netip.ParseAddr(client)
	if err != nil {
		return q, false
	}
	_, rest, _ = strings.Cut(rest, "[")
	when, rest, _ := strings.Cut(rest, `] "`)
	if q.at, err = time.Parse("02/Jan/2006:15:04:05 -0700", when); err != nil {
		return q, false
	}
	line, rest, _ = strings.Cut(rest, `" `)
	words := strings.Fields(line)
	status, _, _ := strings.Cut(rest, " ")
	if q.status, err = strconv.Atoi(status); err != nil || len(words) < 2 || q.status < 100 || q.status > 999 {
		return q, false
	}
	q.addr, q.method, q.path = addr.Unmap().WithZone(""), words[0], words[1]
	if u, err := url.ParseRequestURI(q.path); err == nil {
		q.path = u.Path
	}
	return q, true
}
