package module

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/bots"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/listformat"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
)

// VerifiedBots verifies clients whose user agent claims a bot, such as Googlebot: by the addresses that the bot's
// operator publishes, and by reverse DNS. A user agent alone proves nothing.
//
// A verified bot has the fact `bot=googlebot`. A client that claims to be a bot and is none has the reason `fake_bot`,
// if the bot is one for which a miss is proof. Bots and operators are listed in docs/bots.md.
type VerifiedBots struct {
	// The bots that are verified, besides those of `exempt`, by their names or those of their operators, such as `google`;
	// `all` for all of them. That a bot is verified speaks for it, with 60 points. Default: none.
	Bots []string `json:"bots,omitempty"`

	// The bots that are not judged once they are verified, as for `bots`. Like all that is exempt, they pass whatever you
	// deny or ban. A bot that anybody can make send requests, such as `chatgpt-user`, is exempt only under its own name.
	// Default: none.
	Exempt []string `json:"exempt,omitempty"`

	// The DNS servers that are asked for the names of addresses, such as `127.0.0.1` or `[2001:db8::53]:5353`. Another
	// one is asked when one does not answer. They must say so when a name does not exist. Default: those of the system.
	Resolvers []string `json:"resolvers,omitempty"`

	// URLs from which the addresses of a bot are fetched in place of those of its operator, by the name of the bot: a
	// mirror, or where an operator has moved them. They must have the same form. Default: those in docs/bots.md.
	Ranges map[string][]string `json:"ranges,omitempty"`
}

// verifiedBots is the word in `exempt` that stands for verified bots.
const verifiedBots = "verified_bots"

// Check reports what is wrong with the settings.
func (v *VerifiedBots) Check() error {
	if len(v.Bots)+len(v.Exempt) == 0 {
		return fmt.Errorf("no bot is named: name bots or operators, or %s", bots.All)
	}
	for _, list := range [][]string{v.Bots, v.Exempt} {
		for i, word := range list {
			if err := bots.Check(word); err != nil {
				return err
			}
			if slices.Contains(list[:i], word) {
				return fmt.Errorf("bot %q is named twice: remove one", word)
			}
		}
	}
	if _, err := v.resolvers(); err != nil {
		return err
	}
	for name, urls := range v.Ranges {
		named := bots.Named(name)
		switch {
		case len(named) != 1 || named[0].Name != name:
			return fmt.Errorf("ranges of %q: name one bot", name)
		case named[0].Ranges == nil:
			return fmt.Errorf("ranges of %q: its operator publishes none, so that their form is not known", name)
		case len(urls) == 0:
			return fmt.Errorf("ranges of %q: give a URL", name)
		}
	}
	_, err := v.lists()
	return err
}

// resolvers returns the DNS servers as host and port.
func (v *VerifiedBots) resolvers() (all []string, err error) {
	for _, word := range v.Resolvers {
		at, err := netip.ParseAddrPort(word)
		if addr, addrErr := netip.ParseAddr(word); addrErr == nil {
			at, err = netip.AddrPortFrom(addr, 53), nil
		}
		if err != nil || at.Port() == 0 {
			return nil, fmt.Errorf("resolver %q: write the address of a DNS server, such as 127.0.0.1 or 127.0.0.1:5353", word)
		}
		if slices.Contains(all, at.String()) {
			return nil, fmt.Errorf("resolver %q is given twice: remove one", word)
		}
		all = append(all, at.String())
	}
	return all, nil
}

// selected returns the bots that are verified, and whether each is exempt.
func (v *VerifiedBots) selected() (verified []*bots.Bot, exempt []bool) {
	if v == nil {
		return nil, nil
	}
	chosen := make(map[string]bool) // whether it is exempt, by name
	for _, word := range v.Bots {
		for _, b := range bots.Named(word) {
			chosen[b.Name] = false
		}
	}
	for _, word := range v.Exempt {
		for _, b := range bots.Named(word) {
			chosen[b.Name] = chosen[b.Name] || !b.Driven || word == b.Name
		}
	}
	for _, b := range bots.Named(bots.All) { // in the order of the table
		if e, found := chosen[b.Name]; found {
			verified, exempt = append(verified, b), append(exempt, e)
		}
	}
	return verified, exempt
}

const (
	rangesRefresh = 24 * time.Hour

	// rangesMaxAge is how old ranges may be by their publisher's date, and noMaxAge for those that are known to be old:
	// an operator could do nothing about it.
	rangesMaxAge = runtime.MaxRangesAge
	noMaxAge     = 100 * 365 * 24 * time.Hour
)

// lists returns the lists of the published ranges.
func (v *VerifiedBots) lists() (all []configuredList, err error) {
	if v == nil {
		return nil, nil
	}
	verified, _ := v.selected()
	for _, r := range bots.RangesOf(verified) {
		spec := feed.Spec{
			Name: "bot_" + r.Name, URLs: v.urlsOf(r, verified), Refresh: rangesRefresh, MaxAge: noMaxAge,
			Terms: "published by the bot's operator",
		}
		if len(r.Members) > 0 {
			spec.Format = listformat.Format{Encoding: listformat.JSON, Members: r.Members}
		}
		if slices.ContainsFunc(verified, func(b *bots.Bot) bool { return b.MissProves && b.Ranges == r }) {
			spec.MaxAge = rangesMaxAge
		}
		if err := feed.Check(spec); err != nil {
			return nil, err
		}
		all = append(all, configuredList{spec: spec, meaning: listing.List{Kind: listing.Bots}, label: verifiedBots})
	}
	return all, nil
}

// urlsOf returns where ranges are fetched from.
func (v *VerifiedBots) urlsOf(r *bots.Ranges, verified []*bots.Bot) []string {
	for _, name := range slices.Sorted(maps.Keys(v.Ranges)) {
		if slices.ContainsFunc(verified, func(b *bots.Bot) bool { return b.Name == name && b.Ranges == r }) {
			return v.Ranges[name]
		}
	}
	return r.URLs
}

// provisionBots makes what verifies bots. Their ranges are among the lists already.
func (a *App) provisionBots(caddy.Context) error {
	if a.VerifiedBots == nil {
		return nil
	}
	if err := a.VerifiedBots.Check(); err != nil {
		return fmt.Errorf("%s: %w", verifiedBots, err)
	}
	resolvers, err := a.VerifiedBots.resolvers()
	if err != nil {
		return fmt.Errorf("%s: %w", verifiedBots, err)
	}
	verified, exempt := a.VerifiedBots.selected()
	first := slices.IndexFunc(a.runtime.Lists.Meanings, func(l listing.List) bool { return l.Kind == listing.Bots })
	return a.runtime.OpenBots(verified, exempt, first, resolvers)
}

// ExemptBots adds what stands behind `exempt` in a Caddyfile, if it is verified bots, and reports whether it is: the
// word by itself for all bots, or with the names of some.
func (a *App) ExemptBots(words []string) (is bool, err error) {
	at := slices.Index(words, verifiedBots)
	switch {
	case at < 0:
		return false, nil
	case at > 0 || len(words) > 2:
		return true, fmt.Errorf("%s stands by itself: write `exempt %s`, or `exempt %[1]s google,bing`, on a line of its own",
			verifiedBots, verifiedBots)
	}
	if a.VerifiedBots == nil {
		a.VerifiedBots = new(VerifiedBots)
	}
	names := []string{bots.All}
	if len(words) == 2 {
		names = strings.Split(words[1], ",")
	}
	a.VerifiedBots.Exempt = append(a.VerifiedBots.Exempt, names...)
	return true, a.VerifiedBots.Check()
}

// VerifyBots adds the names that stand behind `verified_bots` in a Caddyfile: none for all bots.
func (a *App) VerifyBots(words []string) error {
	if a.VerifiedBots == nil {
		a.VerifiedBots = new(VerifiedBots)
	}
	if len(words) > 1 {
		return errors.New("write the names with commas and no spaces between them, such as google,bing")
	}
	names := []string{bots.All}
	if len(words) == 1 {
		names = strings.Split(words[0], ",")
	}
	a.VerifiedBots.Bots = names
	return a.VerifiedBots.Check()
}
