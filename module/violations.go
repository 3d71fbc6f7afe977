package module

import (
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// Violation is what clients do on your sites and should not, such as a failed log-in, and what it costs. Sites say how
// it is recognized, or the application does. Each adds points to its client, which decay by half in a time of their
// own. On the next request the points count as the source `own.<name>`.
//
// These are there without being written, and what is left out of them stays as it is here: `trap` (60 points,
// half-life 7d, ban 24h, scanner), `probe` (12, 1d, the first is free, scanner), `login_failed` (3, 1h, the first four
// are free, bruteforce), `not_found` (0.5, 10m, the first twenty are free, at most 10 in all, scanner) and `spam` (15,
// 14d, spam).
type Violation struct {
	// What it is called: lower-case letters, digits, `_` and `-`. Required.
	Name string `json:"name,omitempty"`

	// What each costs: ten points multiply the odds that the client is abusive by ten, 30 alone give a score of 91.
	// From 0.01 to 60. Default: that of the violation of this name that is there already; required for other
	// names.
	Points float64 `json:"points,omitempty"`

	// The time in which points lose half of their worth, from 1s to 180d. Default: 1h.
	HalfLife *caddy.Duration `json:"half_life,omitempty"`

	// How many cost nothing, at most 900. They are for people who mistype, and for those who share an address. The count
	// halves in a half-life, as the points do. Default: 0.
	Free *int `json:"free,omitempty"`

	// What all violations of this name add up to at most, so that many small ones never weigh as much as a grave one. At
	// least `points`, at most 60. Default: twenty times `points`, at most 60.
	Most float64 `json:"most,omitempty"`

	// What the client is suspected of, one of the categories of rules. Default: abuse.
	Category string `json:"category,omitempty"`

	// For how long the client is banned, on all instances, as soon as one counts that is not free. Sites in observe mode
	// only say so. Repeated bans grow. At most 365d; 0 bans nobody. Default: 0.
	Ban *caddy.Duration `json:"ban,omitempty"`

	// Whether services that take reports, such as AbuseIPDB, are told. A provider must say that it takes them. Default:
	// false.
	Report bool `json:"report,omitempty"`
}

// The limits and defaults that config comments name.
const (
	maxViolations    = 64
	minPoints        = .01 // less is lost when points are rounded to thousandths
	maxPoints        = 60  // as much as your own deny list
	defaultMostTimes = 20
	defaultHalfLife  = time.Hour
	minHalfLife      = time.Second
	maxHalfLife      = 180 * 24 * time.Hour
	maxViolationBan  = 365 * 24 * time.Hour
	maxFree          = 900 // more are not counted
	day              = 24 * time.Hour
)

// builtIn are the violations that are there without being written. The numbers come from the thresholds of fail2ban (5
// failures in 10 minutes), of CrowdSec's scenarios (log-ins: more than 5, one forgiven in 10 seconds; admin pages: more
// than 2; missing pages: more than 10 different ones; known exploits: the first) and of BunkerWeb, whose 10 errors of
// any kind in a minute ban people for missing icons.
func builtIn() []violation.Terms {
	return []violation.Terms{
		// Nobody comes here by mistake, so the first is proof. BunkerWeb bans for 24h, fail2ban bad bots for 48h.
		{Name: "trap", Points: 60, HalfLife: 7 * day, Most: 60, Ban: day, Category: reputation.Scanner},
		// One may be a bookmark of the product that stood here before; the fourth different one gives a score of 98.
		{Name: "probe", Points: 12, HalfLife: day, Free: 1, Most: 60, Category: reputation.Scanner},
		// People mistype, and share addresses: the fifth gives a score of 2, the tenth within minutes one of 39.
		{Name: "login_failed", Points: 3, HalfLife: time.Hour, Free: 4, Most: 60, Category: reputation.BruteForce},
		// At most 10 points are a score of 9: missing pages alone never refuse anybody.
		{Name: "not_found", Points: .5, HalfLife: 10 * time.Minute, Free: 20, Most: 10, Category: reputation.Scanner},
		// What the application says is spam; people write again after days.
		{Name: "spam", Points: 15, HalfLife: 14 * day, Most: 60, Category: reputation.Spam},
	}
}

// BuiltInViolations are the violations that are there without being written.
func BuiltInViolations() []violation.Terms { return builtIn() }

// violations returns the terms of all violations by name, the built-in ones first.
func (a *App) violations() ([]violation.Terms, error) {
	all := builtIn()
	given := make(map[string]bool, len(a.Violations))
	for i := range a.Violations {
		v := &a.Violations[i]
		if given[v.Name] {
			return nil, fmt.Errorf("violation %s is defined twice: remove one", v.Name)
		}
		given[v.Name] = true
		at := slices.IndexFunc(all, func(t violation.Terms) bool { return t.Name == v.Name })
		if at < 0 {
			all = append(all, violation.Terms{Name: v.Name, HalfLife: defaultHalfLife, Category: reputation.Abuse})
			at = len(all) - 1
		}
		if err := v.apply(&all[at]); err != nil {
			return nil, err
		}
	}
	if len(all) > maxViolations {
		return nil, fmt.Errorf("there are %d violations, with the built-in ones: use at most %d", len(all), maxViolations)
	}
	ids := make(map[violation.ID]string, len(all))
	for i := range all {
		id := violation.IDOf(all[i].Name)
		if other, taken := ids[id]; taken {
			return nil, fmt.Errorf("violations %s and %s cannot be told apart where they are stored: rename one",
				other, all[i].Name)
		}
		ids[id] = all[i].Name
	}
	return all, nil
}

// check reports what is wrong with the settings by themselves.
func (v *Violation) check() error {
	outside := func(d *caddy.Duration, least, most time.Duration) bool {
		return d != nil && (time.Duration(*d) < least || time.Duration(*d) > most)
	}
	switch {
	case !reputation.ValidName(v.Name):
		return fmt.Errorf("violation %q: a name has at most 64 lower-case letters, digits, _ and -, the first a letter, "+
			"such as login_failed", v.Name)
	case v.Points != 0 && !(v.Points >= minPoints && v.Points <= maxPoints):
		return fmt.Errorf("violation %s: points %v is out of range: use %v to %d", v.Name, v.Points, minPoints, maxPoints)
	case outside(v.HalfLife, minHalfLife, maxHalfLife):
		return fmt.Errorf("violation %s: half_life %s is out of range: use 1s to 180d", v.Name, time.Duration(*v.HalfLife))
	case v.Free != nil && (*v.Free < 0 || *v.Free > maxFree):
		return fmt.Errorf("violation %s: free %d is out of range: use 0 to %d", v.Name, *v.Free, maxFree)
	case outside(v.Ban, 0, maxViolationBan), v.Ban != nil && *v.Ban != 0 && time.Duration(*v.Ban) < time.Second:
		return fmt.Errorf("violation %s: ban %s is out of range: use 1s to 365d, or 0 to ban nobody",
			v.Name, time.Duration(*v.Ban))
	}
	return nil
}

// apply checks the settings, and puts those that are given into the terms.
func (v *Violation) apply(t *violation.Terms) error {
	if err := v.check(); err != nil {
		return err
	}
	if v.Points != 0 {
		t.Points = v.Points
		t.Most = min(defaultMostTimes*t.Points, maxPoints)
	}
	if v.Most != 0 {
		t.Most = v.Most
	}
	switch {
	case t.Points == 0:
		return fmt.Errorf("violation %s has no points: say what each costs, such as points 3", v.Name)
	case !(t.Most >= t.Points && t.Most <= maxPoints):
		return fmt.Errorf("violation %s: most %v is out of range: use at least the %v points of one, and at most %d",
			v.Name, t.Most, t.Points, maxPoints)
	}
	if v.HalfLife != nil {
		t.HalfLife = time.Duration(*v.HalfLife)
	}
	if v.Free != nil {
		t.Free = *v.Free
	}
	if v.Ban != nil {
		t.Ban = time.Duration(*v.Ban)
	}
	if v.Category != "" {
		category, err := reputation.ParseCategory(v.Category)
		if err != nil {
			return fmt.Errorf("violation %s: %w", v.Name, err)
		}
		t.Category = category
	}
	t.Report = v.Report
	return nil
}

// CheckViolations reports what is wrong with the violations.
func (a *App) CheckViolations() error {
	_, err := a.violations()
	return err
}

// ViolationNames are the names that sites can use, nil where the violations are wrong.
func (a *App) ViolationNames() (names []string) {
	all, err := a.violations()
	if err != nil {
		return nil
	}
	for i := range all {
		names = append(names, all[i].Name)
	}
	return names
}

// provisionViolations tells the runtime what violations cost.
func (a *App) provisionViolations(caddy.Context) error {
	all, err := a.violations()
	if err != nil {
		return err
	}
	nearby, err := a.Neighbourhood.settings()
	if err != nil {
		return err
	}
	return a.runtime.OpenConduct(all, nearby)
}

// warnUnusedViolations logs which violations are defined and never counted. It is called when all sites are known.
func (a *App) warnUnusedViolations() {
	names := make([]string, len(a.Violations))
	for i := range a.Violations {
		names[i] = a.Violations[i].Name
	}
	a.runtime.Conduct.WarnUnused(names)
}
