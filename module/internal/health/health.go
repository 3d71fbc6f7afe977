// Package health judges how an instance is doing, from nothing but what the instance knows itself. What it says may be seen
// by strangers: State has no place for a secret, an address, a path or the text of an error.
package health

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// State is the state of an instance.
type State struct {
	Clients   Clients
	Providers []Provider
	Keys      []Key
	Lists     []List
	Redis     *Redis   // nil: the instance is on its own
	History   *History // nil: there is none
	Memory    *Memory  // nil: there is no provider, so that nothing is cached
}

// Clients says whether client addresses seem to be those of the visitors.
type Clients struct {
	Proxy   bool     // nearly all come from one address that looks like a proxy
	Missing bool     // nearly all come without an address
	Chosen  []string // the servers whose visitors can choose it
}

// Provider is a provider. Times are zero if no pause is under way.
type Provider struct {
	Name      string
	Up        bool
	Refused   time.Time // end of the pause after it refused its key
	Throttled time.Time // end of the pause that it asked for
	Open      time.Time // end of the pause after failures
	Windows   []Window
}

// Window is a quota.
type Window struct {
	Name             string // as it is written, such as 1000/day
	Limit, Remaining int
	Reset            time.Time
}

// KeyState is the state of a key.
type KeyState string

// The states of a key.
const (
	KeyInUse     KeyState = "in_use"
	KeyInReserve KeyState = "in_reserve" // used when the keys before it are refused
	KeySetAside  KeyState = "set_aside"  // the service refused it
	KeyWaiting   KeyState = "waiting"    // for its first value
	KeyUnfit     KeyState = "unfit"      // a token of the API that is too short, and never accepted
	KeyOver      KeyState = "ended"      // a token of the API that has expired
)

// Key is one of the keys of a provider.
type Key struct {
	Provider    string
	Fingerprint string // empty while there is no value
	State       KeyState
	Expires     time.Time // zero: not known
	Lease       bool      // Expires moves on by itself
	Failed      bool      // the last fetch failed, and the last value is in use
}

// List is a list of addresses.
type List struct {
	Name    string
	Role    string // feed, deny or exempt
	Loaded  bool
	Entries int
	Success time.Time // when it was last confirmed

	// Patience is how long it may go without a success until it is stale. It is zero for lists that are not refreshed.
	Patience time.Duration

	Failed bool   // the last attempt
	Result string // the last attempt's, as the metrics name it
}

// Redis is the memory that instances share.
type Redis struct {
	Up     bool
	Since  time.Time
	Result string // the last failure's, as the metrics name it
}

// History is the recording of decisions and verdicts.
type History struct {
	Up      bool
	Since   time.Time
	Queued  int64            // entries that are not in the database yet
	Dropped map[string]int64 // entries that are lost, by reason
	Lost    time.Time        // when the last one was; zero: never
}

// Memory is the cache of this instance.
type Memory struct {
	Records, Capacity int
	Evictions         uint64
}

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
	ClientsOneProxy   Reason = "clients_one_proxy"
	ClientsChosen     Reason = "clients_chosen"
	ClientsMissing    Reason = "clients_missing"
	RedisAway         Reason = "redis_away"
	HistoryAway       Reason = "history_away"
	HistoryLost       Reason = "history_lost"
	ProviderRefused   Reason = "provider_refused"
	ProviderThrottled Reason = "provider_throttled"
	ProviderFailing   Reason = "provider_failing"
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
)

// Warning is something that somebody should look at.
type Warning struct {
	Reason    Reason `json:"reason"`
	Component string `json:"component,omitempty"` // the name of the provider, list or server
	Text      string `json:"text"`                // what it is, and what to do
}

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

const (
	day = 24 * time.Hour

	// endIsNear is how long before the expiry of a key there is a warning.
	endIsNear = 30 * day

	// staleAfter is how long a list without Patience may go unconfirmed after a failure.
	staleAfter = day

	// lossIsNews is how long after a loss there is a warning.
	lossIsNews = time.Hour

	// A quota is low when less than one lowShare-th of it is left.
	lowShare = 10
)

// Judge returns the health of an instance. It depends on its arguments only.
func Judge(s State, now time.Time) Report {
	r := Report{Status: Pass, Checks: map[string][]Check{}}
	if len(s.Providers)+len(s.Lists) == 0 {
		r.check("configuration:sources", Check{Type: "component", Value: 0, Unit: "sources"}, warning(NothingConfigured, "",
			"no list and no provider is configured, so nothing is known of anybody but whom you ban: "+
				"name feeds and providers in the global ip_reputation options"))
	}
	r.clients(s.Clients)
	for _, p := range s.Providers {
		r.provider(p, s.Keys, now)
	}
	for _, k := range s.Keys {
		r.key(k, s.Keys, now)
	}
	for _, l := range s.Lists {
		r.list(l, now)
	}
	if s.Redis != nil {
		r.redis(*s.Redis)
	}
	if s.History != nil {
		r.history(*s.History, now)
	}
	if m := s.Memory; m != nil {
		r.check("memory:records",
			Check{Type: "system", Value: m.Records, Unit: "records", Capacity: m.Capacity, Evictions: m.Evictions}, nil)
	}
	var all []string
	for _, w := range r.Warnings {
		r.Status = Warn
		all = append(all, w.Text)
	}
	r.Output = strings.Join(all, "; ")
	return r
}

func warning(reason Reason, component, format string, args ...any) *Warning {
	return &Warning{reason, component, fmt.Sprintf(format, args...)}
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

func (r *Report) clients(c Clients) {
	const name = "clients:address"
	check := func(value string, w *Warning) { r.check(name, Check{Type: "component", Value: value}, w) }
	if c.Proxy {
		check("proxy", warning(ClientsOneProxy, "", "nearly all requests come from one address that looks like a proxy, so that all visitors "+
			"are judged as one, or none is: name the proxy in trusted_proxies, and add trusted_proxies_strict"))
	}
	for _, server := range c.Chosen {
		check("not_strict", warning(ClientsChosen, server, "visitors of server %s can choose the address they are judged by: "+
			"add trusted_proxies_strict beside trusted_proxies", server))
	}
	if c.Missing {
		check("missing", warning(ClientsMissing, "", "nearly all requests come without the address of a client, as on a Unix socket, so "+
			"that nothing is known of their visitors: add trusted_proxies_unix"))
	}
	if len(r.Checks[name]) == 0 {
		check("ok", nil)
	}
}

func (r *Report) redis(s Redis) {
	c := Check{Type: "datastore", Value: "up", Since: s.Since}
	if s.Up {
		r.check("redis:connection", c, nil)
		return
	}
	c.Value, c.Result = "away", s.Result
	r.check("redis:connection", c, warning(RedisAway, "", "redis is away since %s, and this instance goes on by itself: "+
		"see the log, and whether it can be reached from here", clock(s.Since)))
}

func (r *Report) history(s History, now time.Time) {
	c := Check{Type: "datastore", Value: "up", Since: s.Since}
	if s.Up {
		r.check("history:database", c, nil)
	} else {
		c.Value = "away"
		r.check("history:database", c, warning(HistoryAway, "", "the database of the history is away since %s, and what it is to keep "+
			"waits on disk: see the log, and whether it can be reached from here", clock(s.Since)))
	}
	c = Check{Type: "component", Value: s.Queued, Unit: "entries"}
	if !s.Lost.IsZero() && now.Sub(s.Lost) < lossIsNews {
		var lost []string
		for _, reason := range slices.Sorted(maps.Keys(s.Dropped)) {
			if n := s.Dropped[reason]; n > 0 {
				lost = append(lost, fmt.Sprintf("%d %s", n, reason))
			}
		}
		r.check("history:queued", c, warning(HistoryLost, "", "the history has lost entries (%s), the last at %s: "+
			"docs/history.md says what each reason means", strings.Join(lost, ", "), clock(s.Lost)))
		return
	}
	r.check("history:queued", c, nil)
}

func (r *Report) list(l List, now time.Time) {
	c := Check{ID: l.Name, Type: "component", Value: l.Entries, Unit: "entries", Time: l.Success, Role: l.Role}
	if l.Failed {
		c.Result = l.Result
	}
	switch {
	case !l.Loaded:
		r.check("lists:entries", c, warning(ListEmpty, l.Name, "list %s has no contents yet: see the log for why", l.Name))
	case (l.Patience > 0 || l.Failed) && now.Sub(l.Success) > cmp.Or(l.Patience, staleAfter):
		r.check("lists:entries", c, warning(ListStale, l.Name, "list %s was last confirmed at %s, and what it held then is in force: "+
			"see the log for why", l.Name, clock(l.Success)))
	default:
		r.check("lists:entries", c, nil)
	}
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
