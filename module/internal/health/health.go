// Package health judges how an instance is doing, from nothing but what its parts say of
// themselves. It is the only judge: the handler `ip_reputation_health`, `status` and its warnings
// show what it finds.
//
// Strangers may see a Report as JSON, with the Text of its warnings. These hold names that the
// configuration gives to sources, and never a secret, an address, a path or the text of an error.
// The Detail of a warning does; it is for operators.
package health

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Status is a status of draft-inadarei-api-health-check.
type Status string

// The statuses.
const (
	Pass Status = "pass"
	Warn Status = "warn" // it serves, and somebody should look
	Fail Status = "fail" // it does not serve; Judge never says so
)

// Reason is why somebody should look.
type Reason string

// The reasons.
const (
	NothingConfigured Reason = "nothing_configured"
	NoSite            Reason = "no_site"
	RuleNeverHolds    Reason = "rule_never_holds"
	BansStopped       Reason = "ban_burst"
	ClientsOneProxy   Reason = "clients_one_proxy"
	ClientsChosen     Reason = "clients_chosen"
	ClientsMissing    Reason = "clients_missing"
	ClientsPseudo     Reason = "clients_pseudo_ipv4"
	ClientsExempt     Reason = "clients_exempt"
	ClientsOneAddress Reason = "clients_one_address"
	FolderInUse       Reason = "folder_in_use"
	FolderUnlocked    Reason = "folder_unlocked"
	FolderUnwritten   Reason = "folder_unwritten"
	RedisAway         Reason = "redis_away"
	RedisUnsubscribed Reason = "redis_unsubscribed"
	RedisRefuses      Reason = "redis_refuses"
	RedisClock        Reason = "redis_clock"
	HistoryAway       Reason = "history_away"
	HistoryRefused    Reason = "history_refused"
	HistoryUpkeep     Reason = "history_upkeep"
	HistoryUnsaved    Reason = "history_unsaved"
	HistoryLost       Reason = "history_lost"
	SentryUndelivered Reason = "sentry_undelivered"
	ProviderRefused   Reason = "provider_refused"
	ProviderThrottled Reason = "provider_throttled"
	ProviderFailing   Reason = "provider_failing"
	ProviderSetAside  Reason = "provider_set_aside"
	QuotaSpent        Reason = "quota_spent"
	QuotaLow          Reason = "quota_low"
	KeyMissing        Reason = "key_missing"
	KeyRefused        Reason = "key_refused"
	KeyEnds           Reason = "key_ends"
	KeyEnded          Reason = "key_ended"
	KeyUnreadable     Reason = "key_unreadable"
	KeyTooShort       Reason = "key_too_short"
	ListEmpty         Reason = "list_empty"
	ListStale         Reason = "list_stale"
	ListFailing       Reason = "list_failing"
	ListOld           Reason = "list_old"
	ListNotStored     Reason = "list_not_stored"
	ListWrongLines    Reason = "list_wrong_lines"
	ListRepeated      Reason = "list_repeated"
	BotsResolver      Reason = "bots_resolver"
	DatabaseMissing   Reason = "database_missing"
	DatabaseFailing   Reason = "database_failing"
	DatabaseOld       Reason = "database_old"
)

// Warning is something that somebody should look at.
type Warning struct {
	Reason    Reason `json:"reason"`
	Component string `json:"component,omitempty"` // the name of the provider, list or server
	Text      string `json:"text"`                // what it is, and what to do

	// Detail is the same for operators, with the text of the error and its cure. It is empty where
	// Text says it all.
	Detail string `json:"-"`
}

// ForOperators returns the Detail, or the Text where that says it all.
func (w Warning) ForOperators() string { return cmp.Or(w.Detail, w.Text) }

// Report is the judgement. As JSON it is a document of application/health+json.
type Report struct {
	Status Status             `json:"status"`
	Output string             `json:"output,omitempty"` // why it is not pass, for people
	Checks map[string][]Check `json:"checks,omitempty"` // by component and measurement

	Warnings []Warning `json:"-"`
}

// Check is the state of one component.
type Check struct {
	ID     string    `json:"componentId,omitempty"`
	Type   string    `json:"componentType"`
	Value  any       `json:"observedValue"`
	Unit   string    `json:"observedUnit,omitempty"`
	Status Status    `json:"status"`
	Time   time.Time `json:"time,omitzero"`
	Output string    `json:"output,omitempty"`

	// Members that the draft does not define.
	Provider  string    `json:"provider,omitempty"`
	Role      string    `json:"role,omitempty"`
	Window    string    `json:"window,omitempty"`
	Result    string    `json:"result,omitempty"`
	Keys      int       `json:"keys,omitempty"`
	Capacity  int       `json:"capacity,omitempty"`
	Evictions uint64    `json:"evictions,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	Until     time.Time `json:"until,omitzero"`
	Expires   time.Time `json:"expires,omitzero"`
}

// Judge returns the health of an instance. It depends on its arguments only.
func Judge(s State, now time.Time) Report {
	r := Report{Status: Pass, Checks: map[string][]Check{}}
	r.sources(s)
	r.sites(s)
	r.rules(s)
	r.bans(s.Bans)
	r.clients(s.Clients)
	r.folder(s.Folder)
	r.unwritten(s.Unwritten)
	for _, p := range s.Providers {
		r.provider(p, s.Keys, now)
	}
	for _, k := range s.Keys {
		r.key(k, s.Keys, now)
	}
	for _, l := range s.Lists {
		r.list(l, now)
	}
	for _, d := range s.Databases {
		r.facts(d, now)
	}
	if s.Bots != nil {
		r.bots(*s.Bots)
	}
	if s.Redis != nil {
		r.redis(*s.Redis, s.LocalShare, len(s.Providers) > 0)
	}
	if s.History != nil {
		r.database(*s.History)
		r.recorder(s.History.Recorder, now)
	}
	if s.Sentry != nil {
		r.sentry(*s.Sentry)
	}
	if m := s.Memory; m != nil {
		r.check("memory:records",
			Check{Type: "system", Value: m.Records, Unit: "records", Capacity: m.Capacity, Evictions: m.Evictions}, nil)
	}
	var all []string
	for _, w := range r.Warnings {
		r.Status = Warn
		if !slices.Contains(all, w.Text) {
			all = append(all, w.Text)
		}
	}
	r.Output = strings.Join(all, "; ")
	return r
}

func warning(reason Reason, component, format string, args ...any) *Warning {
	return &Warning{Reason: reason, Component: component, Text: fmt.Sprintf(format, args...)}
}

// detail adds what operators read instead.
func (w *Warning) detail(format string, args ...any) *Warning {
	w.Detail = fmt.Sprintf(format, args...)
	return w
}

// check adds a check, which passes if there is no warning.
func (r *Report) check(name string, c Check, w *Warning) {
	c.Status = Pass
	if w != nil {
		c.Status, c.Output = Warn, w.Text
		r.Warnings = append(r.Warnings, *w)
	}
	r.Checks[name] = append(r.Checks[name], c)
}

// FormatTime writes a time as it stands in sentences for operators.
func FormatTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
