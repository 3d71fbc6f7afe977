package module

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// freshTimeout is how long a check waits for providers that it asks anew.
const freshTimeout = 10 * time.Second

// checkAnswer is the whole explanation of a verdict.
type checkAnswer struct {
	Address netip.Addr   `json:"address"`
	Subject netip.Prefix `json:"subject"` // what it is remembered by

	// LoggedAs is how our log writes it, where `privacy` says otherwise.
	LoggedAs string `json:"logged_as,omitempty"`

	// Score is missing when no source has answered or the address is not judged; so are the members about the sum.
	Score    *uint8   `json:"score,omitempty"`
	Percent  *float64 `json:"percent,omitempty"` // the score before rounding
	Status   string   `json:"status"`
	Coverage float64  `json:"coverage"` // of the sources, by trust, 0 to 1

	// Prior and the points of all reasons add up to Points, which stand for Percent.
	Prior   *float64 `json:"prior,omitempty"`
	Points  *float64 `json:"points,omitempty"`
	Sum     string   `json:"sum,omitempty"` // the same, written out
	Reasons []reason `json:"reasons"`

	Categories []string         `json:"categories"`
	Facts      facts            `json:"facts"`
	Reserved   bool             `json:"reserved,omitempty"` // private or otherwise not of the Internet
	Lists      []listEntry      `json:"lists"`              // that hold the address
	Overrides  []ban.Entry      `json:"overrides"`          // bans and exemptions that hold the address
	Providers  []providerAnswer `json:"providers"`          // what is remembered of each
	Next       []string         `json:"next"`               // what happens, or can be done, next
}

type reason struct {
	Source     string   `json:"source"`
	Points     float64  `json:"points"`
	Categories []string `json:"categories"`
	AgeSeconds int64    `json:"age_seconds"` // since the source was asked; 0 for lists
}

type facts struct {
	Country string          `json:"country,omitempty"`
	ASN     uint32          `json:"asn,omitempty"`
	ASName  string          `json:"as_name,omitempty"`
	Network string          `json:"network,omitempty"`
	Nature  map[string]bool `json:"nature,omitempty"` // kinds that are known to hold, or not to
}

type listEntry struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`   // feed, deny or exempt
	Source string `json:"source"` // the host or file it comes from, or "values"
}

type providerAnswer struct {
	Name   string    `json:"name"`
	Answer *answer   `json:"answer,omitempty"` // the last one it gave
	Failed bool      `json:"failed"`           // the last time it was asked
	Due    time.Time `json:"due,omitzero"`     // when it is asked again, if somebody comes from the address

	// Problem says why the provider cannot be asked at present.
	Problem string `json:"problem,omitempty"`
}

type answer struct {
	Severity   float64   `json:"severity"`   // -1 (known good) to 1 (abusive)
	Confidence float64   `json:"confidence"` // 0 to 1
	Categories []string  `json:"categories"`
	Fetched    time.Time `json:"fetched"`
}

func (a *App) adminCheck(r *http.Request, argument string) (any, error) {
	addr, err := parseAddress(argument)
	if err != nil {
		return nil, adminError(http.StatusBadRequest, err)
	}
	if query := r.URL.Query(); query.Has("fresh") {
		if query.Get("fresh") != "" {
			return nil, adminError(http.StatusBadRequest, fmt.Errorf("fresh takes no value: write ?fresh, or leave it out"))
		}
		for _, p := range a.keepers {
			p.keeper.Forgive() // a key that was refused may have been paid for since
		}
		ctx, cancel := context.WithTimeout(r.Context(), freshTimeout)
		defer cancel()
		a.engine.Refresh(ctx, addr)
	} else {
		a.engine.Recall(r.Context(), addr) // whichever instance answers, it knows what all do
	}
	return a.explain(r.Context(), addr), nil
}

// explain puts together all that is known of an address.
func (a *App) explain(ctx context.Context, addr netip.Addr) checkAnswer {
	x, now := a.engine.Explain(addr), time.Now()
	c := checkAnswer{
		Address: x.Address, Subject: x.Subject, Status: x.Verdict.Status.String(), Coverage: x.Verdict.Coverage,
		Reasons: []reason{}, Categories: words(x.Verdict.Categories), Facts: factsOf(x.Verdict.Facts), Reserved: x.Reserved,
		Lists: []listEntry{}, Overrides: a.overrides.Find(addr), Providers: []providerAnswer{},
	}
	if a.privacy != nil {
		c.LoggedAs = a.privacy.Addr(addr)
	}
	if c.Overrides == nil {
		c.Overrides = []ban.Entry{}
	}
	for _, r := range x.Verdict.Reasons {
		c.Reasons = append(c.Reasons, reason{r.Source, r.Points, words(r.Categories), int64(r.Age.Seconds())})
	}
	lists := a.lists.Status()
	for _, i := range x.Lists {
		c.Lists = append(c.Lists, listEntry{a.listNames[i], kindWord(a.meanings[i].Kind), lists[i].Source})
	}
	for i, known := range x.Answers {
		p := providerAnswer{
			Name: known.Source, Failed: known.Failed, Due: known.Due, Problem: problem(a.keepers[i].keeper.Status(), now),
		}
		if known.Answered {
			p.Answer = &answer{known.Severity, known.Confidence, words(known.Categories), known.Fetched}
		}
		c.Providers = append(c.Providers, p)
	}
	if x.Verdict.Scored {
		c.addUp(x.Verdict.Score)
	}
	c.Next = c.next(&x, now)
	for i, list := range lists {
		if !list.Loaded && a.meanings[i].Kind == lookup.Feed {
			c.Next = append(c.Next, list.Name+" counts once it is fetched, which did not succeed yet")
		}
	}
	return c
}

// addUp writes out how the score is made.
func (c *checkAnswer) addUp(rounded uint8) {
	prior, points := score.Prior, score.Prior
	sum := pointsText(prior)
	for _, r := range c.Reasons {
		points += r.Points
		sign := "+"
		if r.Points < 0 {
			sign = "-"
		}
		sum += fmt.Sprintf(" %s %s (%s)", sign, pointsText(math.Abs(r.Points)), r.Source)
	}
	points = math.Round(points*1000) / 1000 // as exact as its parts
	percent := 100 / (1 + math.Pow(10, -points/10))
	c.Score, c.Percent, c.Prior, c.Points = &rounded, &percent, &prior, &points
	c.Sum = fmt.Sprintf("%s = %s points; 100 / (1 + 10^(-points/10)) = %.2f %%", sum, pointsText(points), percent)
}

// pointsText writes points without rounding them: they are whole thousandths.
func pointsText(points float64) string { return strconv.FormatFloat(points, 'f', -1, 64) }

// next says what happens, or can be done, next.
func (c *checkAnswer) next(x *lookup.Explanation, now time.Time) []string {
	next := []string{}
	say := func(format string, args ...any) { next = append(next, fmt.Sprintf(format, args...)) }
	switch {
	case x.Verdict.Status == reputation.Exempt && x.Reserved:
		say("not judged, and nobody is asked: the address is private or reserved")
	case x.Verdict.Status == reputation.Exempt:
		say("not judged, and nobody is asked: the address is exempt")
	case x.Banned:
		say("enforcing sites block it unless a rule says otherwise; no provider is asked while it is banned")
	case slices.ContainsFunc(c.Reasons, func(r reason) bool { return r.Source == reputation.SourceDeny }):
		say("enforcing sites block it unless a rule says otherwise; no provider is asked while you deny it")
	case x.Verdict.Origin == reputation.OriginList && len(x.Answers) > 0:
		say("no provider is asked: the lists leave no doubt")
	default:
		for _, p := range c.Providers {
			if text := p.next(now); text != "" {
				say("%s", text)
			}
		}
	}
	return next
}

// next says what will be done about a provider that has no current answer.
func (p *providerAnswer) next(now time.Time) string {
	switch {
	case p.Problem != "":
		return fmt.Sprintf("%s is not asked now: %s", p.Name, p.Problem)
	case p.Failed && now.Before(p.Due):
		return fmt.Sprintf("%s gave no answer last time and is asked again at the first request after %s", p.Name, clock(p.Due))
	case p.Answer == nil:
		return p.Name + " was not asked yet: it is at the first request from the address, or with --fresh (?fresh)"
	case !now.Before(p.Due):
		return p.Name + " is asked again at the next request from the address, or with --fresh (?fresh)"
	}
	return ""
}

// problem says why a provider cannot be asked at present, or nothing.
func problem(s quota.Status, now time.Time) string {
	switch {
	case !s.RefusedUntil.IsZero():
		return "it refused the key, which is tried again after " + clock(s.RefusedUntil)
	case !s.ThrottledUntil.IsZero():
		return "it asked to be left alone until " + clock(s.ThrottledUntil)
	case !s.OpenUntil.IsZero():
		return "it failed repeatedly and is tried again after " + clock(s.OpenUntil)
	}
	for _, w := range s.Windows {
		if w.Remaining() == 0 && now.Before(w.Reset) {
			return fmt.Sprintf("the quota of %s is used up until %s", w.Window, clock(w.Reset))
		}
	}
	return ""
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// forgotten is the answer to a DELETE of a record.
type forgotten struct {
	Subject   netip.Prefix `json:"subject"`
	Forgotten bool         `json:"forgotten"` // false: nothing was remembered

	// Warning says what went wrong although this instance has forgotten.
	Warning string `json:"warning,omitempty"`
}

func (a *App) adminForget(r *http.Request, argument string) (any, error) {
	addr, err := parseAddress(argument)
	if err != nil {
		return nil, adminError(http.StatusBadRequest, err)
	}
	answer := forgotten{Subject: reputation.Subject(addr)}
	answer.Forgotten, err = a.engine.Forget(r.Context(), addr)
	if a.forgets != nil && !reputation.IsReserved(addr) {
		a.forgets.Add(answer.Subject, time.Now(), err != nil)
		answer.Warning = a.alone()
	}
	if answer.Forgotten {
		a.logger.Info("forgotten by an operator",
			slog.String("subject", answer.Subject.String()), slog.String("remote_addr", r.RemoteAddr))
	}
	return answer, nil
}

func words(set reputation.Categories) []string {
	list := []string{}
	for c := range set.All() {
		list = append(list, c.String())
	}
	return list
}

func factsOf(f reputation.Facts) facts {
	x := facts{Country: f.Country, ASN: f.ASN, ASName: f.ASName}
	if f.Network.IsValid() {
		x.Network = f.Network.String()
	}
	for _, kind := range []reputation.Kind{
		reputation.NatureTor, reputation.NatureVPN, reputation.NatureProxy, reputation.NatureHosting, reputation.NatureMobile,
	} {
		if is, known := f.Nature.Is(kind); known {
			if x.Nature == nil {
				x.Nature = map[string]bool{}
			}
			x.Nature[kind.String()] = is
		}
	}
	return x
}

func kindWord(kind lookup.ListKind) string {
	switch kind {
	case lookup.Deny:
		return "deny"
	case lookup.Exempt:
		return "exempt"
	}
	return "feed"
}
