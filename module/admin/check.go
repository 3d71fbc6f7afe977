package admin

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// freshTimeout is how long a check waits for providers that it asks anew.
const freshTimeout = 10 * time.Second

func serveCheck(rt *runtime.Runtime, r *http.Request, argument string) (any, error) {
	addr, err := rt.NAT64.ParseAddr(argument)
	if err != nil {
		return nil, adminError(http.StatusBadRequest, err)
	}
	query := r.URL.Query()
	if query.Has("fresh") {
		if query.Get("fresh") != "" {
			return nil, adminError(http.StatusBadRequest, fmt.Errorf("fresh takes no value: write ?fresh, or leave it out"))
		}
		for _, p := range rt.Providers {
			p.Guard.Forgive() // a key that was refused may have been paid for since
		}
		ctx, cancel := context.WithTimeout(r.Context(), freshTimeout)
		defer cancel()
		rt.Engine.Refresh(ctx, addr)
	} else {
		rt.Engine.Recall(r.Context(), addr) // whichever instance answers, it knows what all do
	}
	return explain(r.Context(), rt, addr, query.Get("user_agent"), query.Has("fresh")), nil
}

// explain puts together all that is known of an address, and of a client of it with a user agent.
func explain(ctx context.Context, rt *runtime.Runtime, addr netip.Addr, userAgent string, fresh bool) adminapi.Check {
	claimed, claim := rt.ExplainClaim(ctx, addr, userAgent, fresh)
	x, now := rt.Engine.ExplainRequest(addr, lookup.Request{Claim: claim, Stakes: rt.Stakes()}), time.Now()
	c := adminapi.Check{
		Address: x.Address, Subject: x.Subject, Status: x.Verdict.Status.String(), Coverage: x.Verdict.Coverage,
		Reasons: reasonsOf(&x.Verdict), Categories: adminapi.CategoryWords(x.Verdict.Categories), Facts: adminapi.FactsOf(x.Verdict.Facts), Reserved: x.Reserved,
		Lists: []adminapi.ListEntry{}, Overrides: rt.Overrides.Find(addr), Providers: []adminapi.ProviderAnswer{},
	}
	if claimed != nil {
		c.Claim = &adminapi.Claim{Bot: claimed.Bot, Outcome: claimed.Outcome.String(), Why: claimed.Why}
	}
	if rt.Privacy() != nil {
		c.LoggedAs = rt.Privacy().Addr(addr)
	}
	if c.Overrides == nil {
		c.Overrides = []ban.Entry{}
	}
	lists := rt.Lists.Status()
	for _, match := range []struct {
		by      string
		members []uint16
	}{{"", x.Lists}, {"asn", x.ByASN}, {"country", x.ByCountry}} {
		for _, i := range rt.Lists.ListsOf(match.members) {
			c.Lists = append(c.Lists, adminapi.ListEntry{
				Name: rt.Lists.Names[i], Kind: rt.Lists.Meanings[i].Kind.String(), Source: lists[i].Source, By: match.by,
			})
		}
	}
	for i := range x.Answers {
		c.Providers = append(c.Providers, explainProvider(rt.Providers[i].Guard.Status(), &x.Answers[i], &c, now))
	}
	c.Violations, c.Neighbours = seenHere(rt, addr, x.Verdict.Facts.ASN, now)
	if x.Verdict.Scored {
		addUp(&c, x.Verdict.Score)
	}
	c.Next = nextSteps(&c, &x, now)
	for i, list := range lists {
		if !list.Loaded && rt.Lists.Meanings[i].Kind == listing.Feed {
			c.Next = append(c.Next, list.Name+" counts once it is fetched, which did not succeed yet")
		}
	}
	return c
}

// explainProvider returns what a provider has answered, and why it cannot be asked now. c has the reasons already.
func explainProvider(
	status quota.Status, known *lookup.ProviderAnswer, c *adminapi.Check, now time.Time,
) adminapi.ProviderAnswer {
	p := adminapi.ProviderAnswer{
		Name: known.Source, Failed: known.Failed, Due: known.Due, Problem: health.Problem(status, nil, now),
		Worth: known.Worth, Price: status.Price,
	}
	switch {
	case !known.Covered:
		p.Problem = "it does not cover addresses of this kind"
	case known.HeldBack:
		p.Problem = "it is not asked about addresses on a list (ask unless_listed)"
	case p.Problem == "" && known.Needless:
		p.Problem = "its answer could change nothing on any site; --fresh (?fresh) asks it all the same"
	case p.Problem == "" && known.NetworkSpent && !now.Before(known.Due):
		p.Problem = fmt.Sprintf("%s has used its share of the calls (network_share); --fresh (?fresh) does not wait for it",
			reputation.Network(c.Address))
		if speaksOfNetwork(c, p.Name) {
			p.Others = known.Others
		}
	case p.Problem == "" && !now.Before(known.Due):
		p.Problem = unasked(status, known)
	}
	if known.Answered {
		p.Answer = &adminapi.Answer{
			Severity: known.Severity, Confidence: known.Confidence,
			Categories: adminapi.CategoryWords(known.Categories), Fetched: known.Fetched,
		}
	}
	return p
}

// unasked says why a provider that is well is not asked at present, or nothing. An operator who asks waits for none of
// that.
func unasked(status quota.Status, known *lookup.ProviderAnswer) string {
	why := health.Paced(status)
	if why == "" && known.Worth > 0 {
		why = health.Budget(status, known.Worth)
	}
	if why != "" {
		why += "; --fresh (?fresh) does not wait for it"
	}
	return why
}

// seenHere returns what clients of an address, and others of its network, did on the sites.
func seenHere(rt *runtime.Runtime, addr netip.Addr, asn uint32, now time.Time) ([]adminapi.Violation, *adminapi.Neighbours) {
	violations, own := []adminapi.Violation{}, rt.Conduct.Own()
	if own == nil {
		return violations, nil
	}
	for _, s := range own.Seen(addr, now) {
		points := math.Round(s.Points*1000) / 1000 // as in reasons
		violations = append(violations, adminapi.Violation{Name: s.Name, Points: points, Count: s.Count, Last: s.Last})
	}
	near := own.Neighbours(addr, asn, now)
	if near.Offenders+near.Networks == 0 {
		return violations, nil
	}
	return violations, &adminapi.Neighbours{
		Network: near.Network, Offenders: near.Offenders, Last: near.Last, Networks: near.Networks,
	}
}

func reasonsOf(v *reputation.Verdict) []adminapi.Reason {
	reasons := []adminapi.Reason{}
	for _, r := range v.Reasons {
		reasons = append(reasons, adminapi.Reason{
			Source: r.Source, Points: r.Points, Categories: adminapi.CategoryWords(r.Categories), AgeSeconds: int64(r.Age.Seconds()),
			Network: r.Network,
		})
	}
	return reasons
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
	case x.Verdict.Status == reputation.Exempt && x.Verdict.Facts.Bot != "":
		say("not judged, and nobody is asked: verified bots are exempt")
	case x.Verdict.Status == reputation.Exempt:
		say("not judged, and nobody is asked: the address is exempt")
	case x.Banned:
		say("enforcing sites block it unless a rule says otherwise; no provider is asked while it is banned")
		sayHowBansEnd(c, say)
	case hasReason(c, reputation.SourceDeny):
		say("enforcing sites block it unless a rule says otherwise; no provider is asked while you deny it")
	case hasReason(c, reputation.SourceVerifiedBots):
		say("no provider is asked about the bot; for other clients of the address they are")
	case x.Settled && hasOwn(c):
		say("no provider is asked: what the address did here leaves no doubt")
	case x.Settled:
		say("no provider is asked: the lists leave no doubt")
	default:
		for _, p := range c.Providers {
			if text := nextAsked(&p, x.Running, now); text != "" {
				say("%s", text)
			}
		}
	}
	if hasOwn(c) {
		say("`caddy ip-reputation forget %s` takes back the points for what it did here", c.Address)
	}
	return next
}

// sayHowBansEnd names the command that ends each ban.
func sayHowBansEnd(c *adminapi.Check, say func(string, ...any)) {
	for _, e := range c.Overrides {
		switch {
		case e.Kind != ban.Ban:
		case e.Cause.By == ban.Operator:
			say("`caddy ip-reputation unban %s` ends the ban", shortest(e.Prefix))
		default:
			say("`caddy ip-reputation unban %s` ends the ban and forgets the violations", shortest(e.Prefix))
		}
	}
}

// shortest writes a prefix as an operator does.
func shortest(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func hasReason(c *adminapi.Check, source string) bool {
	return slices.ContainsFunc(c.Reasons, func(r adminapi.Reason) bool { return r.Source == source })
}

// speaksOfNetwork reports whether a source counts in the score by what it said of others of the network.
func speaksOfNetwork(c *adminapi.Check, source string) bool {
	return slices.ContainsFunc(c.Reasons, func(r adminapi.Reason) bool { return r.Network && r.Source == source })
}

// hasOwn reports whether what the address did here counts in the score.
func hasOwn(c *adminapi.Check) bool {
	return slices.ContainsFunc(c.Reasons, func(r adminapi.Reason) bool {
		return strings.HasPrefix(r.Source, reputation.SourceOwn+".")
	})
}

// nextAsked says what will be done about a provider that has no current answer. running means that providers are being
// asked about the address.
func nextAsked(p *adminapi.ProviderAnswer, running bool, now time.Time) string {
	switch {
	case p.Problem != "":
		return fmt.Sprintf("%s is not asked now: %s", p.Name, p.Problem)
	case p.Failed && now.Before(p.Due):
		return fmt.Sprintf("%s gave no answer last time and is asked again at the first request after %s; the log says why",
			p.Name, health.FormatTime(p.Due))
	case p.Answer == nil && running:
		return p.Name + " has not answered yet: providers are being asked about the address, cheap ones first"
	case p.Answer == nil:
		return p.Name + " was not asked yet: it is at the first request from the address, or with --fresh (?fresh)"
	case !now.Before(p.Due):
		return p.Name + " is asked again at the next request from the address, or with --fresh (?fresh)"
	}
	return ""
}

func serveForget(rt *runtime.Runtime, r *http.Request, argument string) (any, error) {
	addr, err := rt.NAT64.ParseAddr(argument)
	if err != nil {
		return nil, adminError(http.StatusBadRequest, err)
	}
	answer := adminapi.Forgotten{Subject: reputation.Subject(addr)}
	answer.Forgotten, answer.Violations = rt.ForgetClient(r.Context(), addr)
	if !reputation.IsReserved(addr) {
		answer.Warning = otherInstances(rt)
	}
	if held := bans.holding(rt, addr); len(held) > 0 {
		answer.Note = fmt.Sprintf("%s is still banned by %s: `caddy ip-reputation unban` ends that", addr, strings.Join(held, ", "))
	}
	if answer.Forgotten || answer.Violations {
		rt.Logger.Info("forgotten by an operator",
			slog.String("subject", answer.Subject.String()), slog.String("remote_addr", r.RemoteAddr))
	}
	return answer, nil
}
