package module

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// freshTimeout is how long a check waits for providers that it asks anew.
const freshTimeout = 10 * time.Second

func (a *App) adminCheck(r *http.Request, argument string) (any, error) {
	addr, err := address.ParseAddr(argument)
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
func (a *App) explain(ctx context.Context, addr netip.Addr) adminapi.Check {
	x, now := a.engine.Explain(addr), time.Now()
	c := adminapi.Check{
		Address: x.Address, Subject: x.Subject, Status: x.Verdict.Status.String(), Coverage: x.Verdict.Coverage,
		Reasons: []adminapi.Reason{}, Categories: words(x.Verdict.Categories), Facts: factsOf(x.Verdict.Facts), Reserved: x.Reserved,
		Lists: []adminapi.ListEntry{}, Overrides: a.overrides.Find(addr), Providers: []adminapi.ProviderAnswer{},
	}
	if a.privacy != nil {
		c.LoggedAs = a.privacy.Addr(addr)
	}
	if c.Overrides == nil {
		c.Overrides = []ban.Entry{}
	}
	for _, r := range x.Verdict.Reasons {
		c.Reasons = append(c.Reasons, adminapi.Reason{
			Source: r.Source, Points: r.Points, Categories: words(r.Categories), AgeSeconds: int64(r.Age.Seconds()),
		})
	}
	lists := a.lists.Status()
	for _, i := range x.Lists {
		c.Lists = append(c.Lists, adminapi.ListEntry{Name: a.listNames[i], Kind: kindWord(a.meanings[i].Kind), Source: lists[i].Source})
	}
	for i, known := range x.Answers {
		p := adminapi.ProviderAnswer{
			Name: known.Source, Failed: known.Failed, Due: known.Due, Problem: problem(a.keepers[i].keeper.Status(), now),
		}
		if known.Answered {
			p.Answer = &adminapi.Answer{
				Severity: known.Severity, Confidence: known.Confidence, Categories: words(known.Categories), Fetched: known.Fetched,
			}
		}
		c.Providers = append(c.Providers, p)
	}
	if x.Verdict.Scored {
		addUp(&c, x.Verdict.Score)
	}
	c.Next = nextSteps(&c, &x, now)
	for i, list := range lists {
		if !list.Loaded && a.meanings[i].Kind == lookup.Feed {
			c.Next = append(c.Next, list.Name+" counts once it is fetched, which did not succeed yet")
		}
	}
	return c
}

// addUp writes out how the score is made.
func addUp(c *adminapi.Check, rounded uint8) {
	prior, points := score.Prior, score.Prior
	sum := adminapi.FormatPoints(prior)
	for _, r := range c.Reasons {
		points += r.Points
		sign := "+"
		if r.Points < 0 {
			sign = "-"
		}
		sum += fmt.Sprintf(" %s %s (%s)", sign, adminapi.FormatPoints(math.Abs(r.Points)), r.Source)
	}
	points = math.Round(points*1000) / 1000 // as exact as its parts
	percent := 100 / (1 + math.Pow(10, -points/10))
	c.Score, c.Percent, c.Prior, c.Points = &rounded, &percent, &prior, &points
	c.Sum = fmt.Sprintf("%s = %s points; 100 / (1 + 10^(-points/10)) = %.2f %%", sum, adminapi.FormatPoints(points), percent)
}

// nextSteps says what happens, or can be done, next.
func nextSteps(c *adminapi.Check, x *lookup.Explanation, now time.Time) []string {
	next := []string{}
	say := func(format string, args ...any) { next = append(next, fmt.Sprintf(format, args...)) }
	switch {
	case x.Verdict.Status == reputation.Exempt && x.Reserved:
		say("not judged, and nobody is asked: the address is private or reserved")
	case x.Verdict.Status == reputation.Exempt:
		say("not judged, and nobody is asked: the address is exempt")
	case x.Banned:
		say("enforcing sites block it unless a rule says otherwise; no provider is asked while it is banned")
	case slices.ContainsFunc(c.Reasons, func(r adminapi.Reason) bool { return r.Source == reputation.SourceDeny }):
		say("enforcing sites block it unless a rule says otherwise; no provider is asked while you deny it")
	case x.Verdict.Origin == reputation.OriginList && len(x.Answers) > 0:
		say("no provider is asked: the lists leave no doubt")
	default:
		for _, p := range c.Providers {
			if text := nextAsked(&p, now); text != "" {
				say("%s", text)
			}
		}
	}
	return next
}

// nextAsked says what will be done about a provider that has no current answer.
func nextAsked(p *adminapi.ProviderAnswer, now time.Time) string {
	switch {
	case p.Problem != "":
		return fmt.Sprintf("%s is not asked now: %s", p.Name, p.Problem)
	case p.Failed && now.Before(p.Due):
		return fmt.Sprintf("%s gave no answer last time and is asked again at the first request after %s", p.Name, adminapi.FormatTime(p.Due))
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
		return "it refused the key, which is tried again after " + adminapi.FormatTime(s.RefusedUntil)
	case !s.ThrottledUntil.IsZero():
		return "it asked to be left alone until " + adminapi.FormatTime(s.ThrottledUntil)
	case !s.OpenUntil.IsZero():
		return "it failed repeatedly and is tried again after " + adminapi.FormatTime(s.OpenUntil)
	}
	for _, w := range s.Windows {
		if w.Remaining() == 0 && now.Before(w.Reset) {
			return fmt.Sprintf("the quota of %s is used up until %s", w.Window, adminapi.FormatTime(w.Reset))
		}
	}
	return ""
}

func (a *App) adminForget(r *http.Request, argument string) (any, error) {
	addr, err := address.ParseAddr(argument)
	if err != nil {
		return nil, adminError(http.StatusBadRequest, err)
	}
	answer := adminapi.Forgotten{Subject: reputation.Subject(addr)}
	answer.Forgotten, err = a.engine.Forget(r.Context(), addr)
	if a.forgets != nil && !reputation.IsReserved(addr) {
		a.forgets.say(answer.Subject, time.Now(), err != nil)
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

func factsOf(f reputation.Facts) adminapi.Facts {
	x := adminapi.Facts{Country: f.Country, ASN: f.ASN, ASName: f.ASName}
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
