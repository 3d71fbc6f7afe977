package health

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// well is an instance with one of everything, of which nothing is wrong.
func well() State {
	return State{
		Providers: []Provider{{Name: "abuseipdb", Up: true, Windows: []Window{{"1000/day", 1000, 1000, now.Add(time.Hour)}}}},
		Keys: []Key{
			{Provider: "abuseipdb", Fingerprint: "11111111", State: KeyInUse},
			{Provider: "abuseipdb", Fingerprint: "22222222", State: KeyInReserve, Expires: now.Add(31 * day)},
		},
		Lists: []List{
			{Name: "tor_exits", Role: "feed", Patience: day, Loaded: true, Entries: 5, Success: now.Add(-time.Hour), Result: "ok"},
			{Name: "deny_mine", Role: "deny", Loaded: true, Entries: 1, Success: now.Add(-1000 * time.Hour), Result: "ok"},
		},
		Redis: &Redis{Up: true, Since: now.Add(-time.Hour)},

		History: &History{Up: true, Since: now.Add(-time.Hour)},
		Memory:  &Memory{Records: 5, Capacity: 100},
	}
}

// TestJudge proves what is a reason to look and what is none, on both sides of each bound.
func TestJudge(t *testing.T) {
	type reasons = []Reason
	for name, tc := range map[string]struct {
		change func(*State)
		want   reasons
	}{
		"well":                       {func(*State) {}, nil},
		"without redis and provider": {func(s *State) { s.Redis, s.History, s.Memory, s.Providers, s.Keys = nil, nil, nil, nil, nil }, nil},
		"nothing configured":         {func(s *State) { *s = State{} }, reasons{NothingConfigured}},
		"one proxy":                  {func(s *State) { s.Clients.Proxy = true }, reasons{ClientsOneProxy}},
		"no address":                 {func(s *State) { s.Clients.Missing = true }, reasons{ClientsMissing}},
		"two servers not strict":     {func(s *State) { s.Clients.Chosen = []string{"srv0", "srv1"} }, reasons{ClientsChosen, ClientsChosen}},
		"redis away":                 {func(s *State) { s.Redis.Up = false }, reasons{RedisAway}},
		"history away":               {func(s *State) { s.History.Up = false }, reasons{HistoryAway}},
		"history lost something":     {func(s *State) { s.History.Lost = now.Add(1 - time.Hour) }, reasons{HistoryLost}},
		"that is an hour ago":        {func(s *State) { s.History.Lost = now.Add(-time.Hour) }, nil},

		"refused":                  {provider(func(p *Provider) { p.Up, p.Refused = false, now.Add(1) }), reasons{ProviderRefused}},
		"throttled":                {provider(func(p *Provider) { p.Up, p.Throttled = false, now.Add(1) }), reasons{ProviderThrottled}},
		"failing":                  {provider(func(p *Provider) { p.Up, p.Open = false, now.Add(1) }), reasons{ProviderFailing}},
		"half open":                {provider(func(p *Provider) { p.Up = false }), reasons{ProviderFailing}},
		"a tenth of a quota":       {provider(func(p *Provider) { p.Windows[0].Remaining = 100 }), nil},
		"less than a tenth":        {provider(func(p *Provider) { p.Windows[0].Remaining = 99 }), reasons{QuotaLow}},
		"spent":                    {provider(func(p *Provider) { p.Windows[0].Remaining = 0 }), reasons{QuotaSpent}},
		"spent until now":          {provider(func(p *Provider) { p.Windows[0].Remaining, p.Windows[0].Reset = 0, now }), nil},
		"one of one call a day":    {provider(func(p *Provider) { p.Windows[0].Limit, p.Windows[0].Remaining = 1, 1 }), nil},
		"refused, and little left": {provider(func(p *Provider) { p.Refused, p.Windows[0].Remaining = now.Add(1), 1 }), reasons{ProviderRefused, QuotaLow}},

		"a key set aside, another used": {keys(KeySetAside, KeyInUse), reasons{KeyRefused}},
		"a key waits, another used":     {keys(KeyWaiting, KeyInUse), reasons{KeyMissing}},
		"all keys set aside":            {keys(KeySetAside, KeySetAside), reasons{ProviderRefused}},
		"one set aside, one waits":      {keys(KeySetAside, KeyWaiting), reasons{ProviderRefused}},
		"all keys wait":                 {keys(KeyWaiting, KeyWaiting), reasons{KeyMissing}},
		"the keys of another provider wait": {func(s *State) {
			s.Keys = append(s.Keys, Key{Provider: "other", State: KeyWaiting})
		}, nil},
		"a provider without keys": {func(s *State) { s.Keys = nil }, nil},

		"a token that is too short": {keys(KeyUnfit, KeyInUse), reasons{KeyTooShort}},
		"a token that has ended":    {func(s *State) { s.Keys[0].State, s.Keys[0].Expires = KeyOver, now.Add(-1) }, reasons{KeyEnded}},

		"ends in 30 days":   {end(30*day, false), reasons{KeyEnds}},
		"ends later":        {end(30*day+1, false), nil},
		"has ended":         {end(0, false), reasons{KeyEnded}},
		"a lease ends soon": {end(time.Minute, true), nil},
		"a file is gone":    {func(s *State) { s.Keys[0].Failed = true }, reasons{KeyUnreadable}},
		"a lease has ended": {end(-1, true), reasons{KeyEnded}},
		"refused, and it has ended": {func(s *State) {
			s.Keys[1].State, s.Keys[1].Expires = KeySetAside, now.Add(-1)
		}, reasons{KeyEnded}},

		"never fetched":                {list(func(l *List) { l.Loaded, l.Success = false, time.Time{} }), reasons{ListEmpty}},
		"a day without success":        {list(func(l *List) { l.Success = now.Add(-day) }), nil},
		"more than a day":              {list(func(l *List) { l.Success = now.Add(-day - 1) }), reasons{ListStale}},
		"as long as it may be":         {list(func(l *List) { l.Patience, l.Success = 3*day, now.Add(-3*day) }), nil},
		"longer than it may be":        {list(func(l *List) { l.Patience, l.Success = 3*day, now.Add(-3*day-1) }), reasons{ListStale}},
		"failed once":                  {list(func(l *List) { l.Failed, l.Result = true, "timeout" }), nil},
		"a file unreadable for an age": {func(s *State) { s.Lists[1].Failed, s.Lists[1].Result = true, "error" }, reasons{ListStale}},
	} {
		t.Run(name, func(t *testing.T) {
			s := well()
			tc.change(&s)
			r := Judge(s, now)
			var got reasons
			outputs := map[string]bool{}
			for _, checks := range r.Checks {
				for _, c := range checks {
					if (c.Status == Warn) != (c.Output != "") {
						t.Errorf("a check is %s and says %q", c.Status, c.Output)
					}
					outputs[c.Output] = true
				}
			}
			for _, w := range r.Warnings {
				got = append(got, w.Reason)
				if !strings.Contains(r.Output, w.Text) || !outputs[w.Text] {
					t.Errorf("%q is not in the output, or in that of no component", w.Text)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("reasons (-want +got):\n%s\n%s", diff, r.Output)
			}
			if want := map[bool]Status{true: Pass, false: Warn}[tc.want == nil]; r.Status != want || (r.Output == "") != (want == Pass) {
				t.Errorf("status %s, output %q, want %s", r.Status, r.Output, want)
			}
		})
	}
}

func provider(change func(*Provider)) func(*State) { return func(s *State) { change(&s.Providers[0]) } }

func list(change func(*List)) func(*State) { return func(s *State) { change(&s.Lists[0]) } }

func keys(first, second KeyState) func(*State) {
	return func(s *State) { s.Keys[0].State, s.Keys[1].State = first, second }
}

func end(left time.Duration, lease bool) func(*State) {
	return func(s *State) { s.Keys[0].Expires, s.Keys[0].Lease = now.Add(left), lease }
}

func TestDays(t *testing.T) {
	for left, want := range map[time.Duration]struct {
		days int
		text string
	}{
		-day:        {-1, ""},
		-1:          {-1, ""},
		0:           {0, "less than a day"},
		day - 1:     {0, "less than a day"},
		day:         {1, "1 day"},
		2*day - 1:   {1, "1 day"},
		29*day + 77: {29, "29 days"},
	} {
		if got := Days(left); got != want.days {
			t.Errorf("%v are %d days, want %d", left, got, want.days)
		}
		if got := days(left); want.text != "" && got != want.text {
			t.Errorf("%v are %q, want %q", left, got, want.text)
		}
	}
}
