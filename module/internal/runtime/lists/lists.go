// Package lists is the lists of a configuration: who is exempt, denied, a bot, or spoken against by a feed.
package lists

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/crowdsec"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/event"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Lists are the lists of one configuration. Names, Meanings and Shown are set before they are opened.
type Lists struct {
	*Set // nil until they are opened

	Names    []string       // by position
	Meanings []listing.List // what being on a list means, likewise; then those of the further parts of lists
	Shown    []string       // with the file or the host that it comes from, by position

	options       Options
	files         []*Set               // of conditions, one file each
	readyBy       time.Time            // until then, lists without contents delay readiness; see Awaited
	repeatsLogged map[string]string    // by feed
	oldLogged     map[string]time.Time // by list
	overlaps      overlaps
}

// Open finds or opens the lists of the given specs. The hash of a list's further settings, such as its key, tells two
// lists apart that differ in these only. Each stream fills the list of its name.
func (l *Lists) Open(o Options, specs []feed.Spec, hashes []string, streams []crowdsec.Config) error {
	hash, err := process.Hash([]any{specs, hashes})
	if err != nil {
		return err
	}
	l.options = o
	l.Set, err = o.open("lists "+hash, specs, streams)
	return err
}

// Start begins to refresh the lists, those of conditions among them, unless it has begun.
func (l *Lists) Start() {
	l.start()
	for _, file := range l.files {
		file.start()
	}
}

// State returns what health judges, the lists of conditions last.
func (l *Lists) State() (all []health.List) {
	repeated := l.repeated()
	for i, status := range l.Status() {
		all = append(all, health.List{Role: l.Meanings[i].Kind.String(), SameAs: repeated[i], Status: status})
	}
	for _, file := range l.files {
		all = append(all, health.List{Role: "asn", Status: file.Status()[0]})
	}
	return all
}

// DenyLists names the deny lists that hold an address with these facts now, with the file or the host that each comes
// from.
func (l *Lists) DenyLists(addr netip.Addr, facts reputation.Facts) string {
	if l.Set == nil {
		return ""
	}
	text, contents := "", l.Current()
	all := slices.Concat(contents.Members(contents.Lookup(addr)), contents.Named(facts.ASN, facts.Country))
	slices.Sort(all)
	for _, i := range slices.Compact(all) {
		if l.Meanings[i].Kind != listing.Deny {
			continue
		}
		if text != "" {
			text += ", "
		}
		text += l.Shown[i]
	}
	return text
}

// Warn logs what is wrong with the contents of lists, each once.
func (l *Lists) Warn(logger *slog.Logger, now time.Time) {
	l.warnOfRepeats(logger, now)
	l.warnOfOld(logger, now)
}

// repeated returns, by position, the name of the feed that counts in a list's place because both have the same
// contents, or the empty string.
func (l *Lists) repeated() []string {
	names := make([]string, len(l.Names))
	for i, other := range listing.Repeats(l.Meanings, l.Current().Content) {
		if other >= 0 {
			names[i] = l.Names[other]
		}
	}
	return names
}

// warnOfRepeats logs which feeds have the same contents, each once. It waits for the first contents of all
// lists, since a feed that is loaded later may be the one that counts.
func (l *Lists) warnOfRepeats(logger *slog.Logger, now time.Time) {
	if l.Awaited(now) {
		return
	}
	if l.repeatsLogged == nil {
		l.repeatsLogged = make(map[string]string)
	}
	for i, other := range l.repeated() {
		if name := l.Names[i]; other != l.repeatsLogged[name] {
			l.repeatsLogged[name] = other
			if other != "" {
				logger.Warn("two lists have the same contents and count once", slog.String("feed", name),
					slog.String("same_as", other), slog.String("cure", "remove one of them"))
			}
		}
	}
}

// warnOfOld logs which lists their publishers seem to have given up, each once for the date that it has.
func (l *Lists) warnOfOld(logger *slog.Logger, now time.Time) {
	if l.oldLogged == nil {
		l.oldLogged = make(map[string]time.Time)
	}
	for _, s := range l.Status() {
		if !s.Old(now) || s.Published.Equal(l.oldLogged[s.Name]) {
			continue
		}
		l.oldLogged[s.Name] = s.Published
		logger.Warn("a list is old by its publisher's own date", slog.String("feed", s.Name),
			slog.String("published", event.Clock(s.Published)), slog.Duration("max_age", s.MaxAge),
			slog.String("cure", "see whether the publisher still keeps it up, and take it out if not, or raise `max_age`"))
	}
}
