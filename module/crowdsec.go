package module

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/crowdsec"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret"
)

// CrowdSec follows the decisions of a CrowdSec local API (LAPI), as a bouncer does. They are asked for in the
// background; while the API is away, the last ones stay, each until it ends. A ban alone gives a score of 92, a
// captcha 73, a throttle 52; other types count for nothing. Decisions about a country or an autonomous system count
// for addresses of which that is known.
//
// Of the feed's settings, `key` is the bouncer's key, from `cscli bouncers add caddy`: required unless there is a
// client certificate. `refresh` is how often the API is asked for news, from 1s to 5m. Default: 10s. `name` tells two
// of them apart. Default: `crowdsec`.
type CrowdSec struct {
	// Where the API listens: a URL such as `http://127.0.0.1:8080`, which may have a path that a proxy adds, or the
	// path of its socket, such as `/run/crowdsec.sock`. Placeholders are resolved when the configuration is loaded.
	// Required.
	URL string `json:"url,omitempty"`

	// Parts of the names of scenarios, such as `http-` or `ssh-bf`: only decisions of a scenario with one of them in
	// its name count. Upper and lower case are the same. Default: all.
	Scenarios []string `json:"scenarios,omitempty"`

	// Parts of the names of scenarios whose decisions do not count. They win over `scenarios`. Default: none.
	NotScenarios []string `json:"not_scenarios,omitempty"`

	// Where decisions may come from: `crowdsec` (your engine), `cscli` (your hand), `console`, `CAPI` (the community),
	// `lists` (all lists that you subscribed to), `lists:<name>` (one of them), or `other`. Default: anywhere.
	Origins []string `json:"origins,omitempty"`

	// Certificates, where the URL begins with https. With a certificate of its own, the bouncer needs no key.
	// Default: the authorities of the system.
	TLS *TLS `json:"tls,omitempty"`
}

const (
	crowdSecName = "crowdsec"

	crowdSecWeight = 32

	// crowdSecConfidence is the evidence behind a decision: somebody, or an engine, has decided.
	crowdSecConfidence = 0.95
)

// decisions turns a feed of decisions into a list, without its key.
func (f *Feed) decisions() (l configuredList, err error) {
	if err := f.checkDecisions(); err != nil {
		return l, err
	}
	c := f.CrowdSec
	l.crowdSec, l.options = c, &f.ListOptions
	l.stream = &crowdsec.Config{
		Name: cmp.Or(f.Name, crowdSecName), URL: c.URL, Poll: time.Duration(f.Refresh),
		Filter: crowdsec.Filter{Scenarios: c.Scenarios, NotScenarios: c.NotScenarios, Origins: c.Origins},
	}
	l.spec = feed.Spec{
		Name: l.stream.Name, Pushed: crowdSecName, Parts: crowdsec.NumParts,
		MaxEntries: f.MaxEntries, MaxShrink: f.MaxShrink,
	}
	if l.spec.Filter, err = process.Hash(l.stream.Filter); err != nil {
		return l, err
	}
	source := score.Source{Name: l.spec.Name, Group: crowdSecName, Weight: crowdSecWeight}
	if source.Trust, err = provider.Trust(f.Trust); err != nil {
		return l, err
	}
	meanings := make([]listing.List, crowdsec.NumParts)
	for part := range meanings {
		m := crowdsec.MeaningOf(part)
		meanings[part] = listing.List{
			Source: source, Severity: m.Remediation.Severity(), Confidence: crowdSecConfidence,
			Categories: reputation.CategoriesOf(m.Category), Part: part > 0,
		}
	}
	l.meaning, l.parts = meanings[0], meanings[1:]
	return l, nil
}

// checkDecisions reports what is wrong with a feed of decisions.
func (f *Feed) checkDecisions() error {
	c := f.CrowdSec
	if other, err := f.besideDecisions(); err != nil || other != "" {
		return cmp.Or(err, fmt.Errorf("a feed of CrowdSec's decisions has no %s: remove it", other))
	}
	if f.Name != "" {
		if err := reputation.CheckName(f.Name); err != nil {
			return err
		}
	}
	if poll := time.Duration(f.Refresh); poll != 0 && (poll < crowdsec.MinPoll || poll > crowdsec.MaxPoll) {
		return fmt.Errorf("refresh %s is out of range: use %s to %s", poll, crowdsec.MinPoll, crowdsec.MaxPoll)
	}
	for _, word := range c.Origins {
		if err := crowdsec.CheckOrigin(word); err != nil {
			return err
		}
	}
	if !strings.Contains(c.URL, "{") {
		if err := crowdsec.CheckURL(c.URL); err != nil {
			return err
		}
	}
	if err := c.TLS.check(); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	if f.Key == nil && (c.TLS == nil || c.TLS.Certificate == "") {
		return fmt.Errorf("no key is given: make one with `cscli bouncers add caddy`, then %s", secret.HowToWrite("key"))
	}
	return nil
}

// checkAskers returns an error if two feeds ask an API as one bouncer: it tells news once.
func checkAskers(feeds []Feed) error {
	names := make(map[string]string)
	for i := range feeds {
		f := &feeds[i]
		if f.CrowdSec == nil {
			continue
		}
		name := cmp.Or(f.Name, crowdSecName)
		asker, err := process.Hash([]any{f.CrowdSec.URL, f.Key, f.CrowdSec.TLS})
		if err != nil {
			return err
		}
		if other, taken := names[asker]; taken {
			return fmt.Errorf("feed %s asks the API of %s with the same key, and each would take the other's news away: "+
				"make another with `cscli bouncers add caddy-2`", name, other)
		}
		names[asker] = name
	}
	return nil
}

// besideDecisions names a setting that a feed of decisions does not have; it is empty if there is none.
func (f *Feed) besideDecisions() (string, error) {
	rest := *f
	rest.CrowdSec, rest.Name, rest.Trust, rest.Key, rest.Refresh, rest.MaxEntries, rest.MaxShrink = nil, "", nil, nil, 0, 0, nil
	text, err := json.Marshal(rest)
	if err != nil {
		return "", err
	}
	var names map[string]json.RawMessage
	if err := json.Unmarshal(text, &names); err != nil {
		return "", err
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		return name, nil
	}
	return "", nil
}

// follow opens what a feed of decisions is asked with.
func (a *App) follow(ctx caddy.Context, l *configuredList) error {
	resolved, err := resolveURLs([]string{l.crowdSec.URL})
	if err != nil {
		return err
	}
	if err := crowdsec.CheckURL(resolved[0]); err != nil {
		return err
	}
	l.stream.URL, l.spec.Pushed = resolved[0], crowdsec.Where(resolved[0])
	if l.stream.TLS, err = l.crowdSec.TLS.config(); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	ca, err := l.crowdSec.TLS.authorities()
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	key := l.options.Key
	if l.settings, err = process.Hash([]any{l.crowdSec, l.stream.URL, l.options.Refresh, key, ca}); err != nil {
		return err
	}
	if key == nil {
		return nil
	}
	if crowdsec.IsExposed(resolved[0]) {
		a.runtime.Logger.Warn("the key is sent without encryption: use a url that begins with https://",
			slog.String("feed", l.spec.Name), slog.String("host", l.spec.Pushed))
	}
	opened, err := key.OpenFor(ctx, a.runtime, l.spec.Name, "key", false)
	if err != nil {
		return err
	}
	l.stream.Key = opened
	return nil
}
