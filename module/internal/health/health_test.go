package health

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history/recorder"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/mmdb"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/postgres"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/sentry"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// well is an instance with one of everything, of which nothing is wrong.
func well() State {
	return State{
		Providers: []quota.Status{{Name: "abuseipdb", Up: true, Windows: []quota.WindowStatus{
			{Window: "1000/day", Period: "day", Limit: 1000, Reset: now.Add(time.Hour)},
		}}},
		Keys: []Key{
			{Status: secret.Status{Name: "abuseipdb", Fingerprint: "11111111"}, State: KeyInUse},
			{Status: secret.Status{Name: "abuseipdb", Fingerprint: "22222222", Expires: now.Add(31 * day)}, State: KeyInReserve},
		},
		Lists: []List{
			{Role: "feed", Status: feed.Status{
				Name: "tor_exits", Kind: feed.KindURL, Patience: day, Loaded: true, Entries: 5, LastSuccess: now.Add(-time.Hour), LastResult: "ok",
			}},
			{Role: "deny", Status: feed.Status{
				Name: "deny_mine", Kind: feed.KindFile, Loaded: true, Entries: 1, LastSuccess: now.Add(-1000 * time.Hour), LastResult: "ok",
			}},
		},
		Databases: []mmdb.Status{{
			Name: "GeoLite2-ASN", Loaded: true, Built: now.Add(-day), MaxAge: 40 * day, Networks: 5, File: "/var/lib/GeoIP/GeoLite2-ASN.mmdb",
		}},
		Redis:      &redis.Status{Up: true, Since: now.Add(-time.Hour)},
		LocalShare: 0.25,
		History:    &History{Database: postgres.Status{Up: true, Since: now.Add(-time.Hour)}},
		Memory:     &Memory{Records: 5, Capacity: 100},
		Sentry:     &sentry.Status{Delivered: 7},
	}
}

type reasons = []Reason

// judgements are states and the warnings that they deserve, on both sides of each bound.
var judgements = map[string]struct {
	change func(*State)
	want   reasons
}{
	"well": {func(*State) {}, nil},
	"without redis and provider": {func(s *State) {
		s.Redis, s.History, s.Memory, s.Sentry, s.Providers, s.Keys = nil, nil, nil, nil, nil, nil
	}, nil},
	"nothing configured":  {func(s *State) { *s = State{} }, reasons{NothingConfigured}},
	"violations alone":    {func(s *State) { *s = State{Violations: &Violations{Capacity: 1}} }, nil},
	"one proxy":           {func(s *State) { s.Clients.Proxy = true }, reasons{ClientsOneProxy}},
	"no address":          {func(s *State) { s.Clients.Missing = true }, reasons{ClientsMissing}},
	"all are exempt":      {func(s *State) { s.Clients.Exempt = true }, reasons{ClientsExempt}},
	"one address":         {func(s *State) { s.Clients.OneAddress = true }, reasons{ClientsOneAddress}},
	"one address, exempt": {func(s *State) { s.Clients.OneAddress, s.Clients.Exempt = true, true }, reasons{ClientsExempt}},
	"one exempt proxy": {func(s *State) {
		s.Clients.Proxy, s.Clients.OneAddress, s.Clients.Exempt = true, true, true
	}, reasons{ClientsOneProxy}},
	"no site uses it":        {func(s *State) { s.Unused = true }, reasons{NoSite}},
	"some sites use it":      {func(s *State) { s.Sites = &Sites{All: 5, Protected: 3} }, nil},
	"two rules never hold":   {func(s *State) { s.Rules = make([]Rule, 2) }, reasons{RuleNeverHolds, RuleNeverHolds}},
	"a burst of bans":        {func(s *State) { s.Bans.Burst = &BanBurst{Since: now, Offenders: 60, Networks: 500} }, reasons{BansStopped}},
	"two servers not strict": {func(s *State) { s.Clients.Chosen = []string{"srv0", "srv1"} }, reasons{ClientsChosen, ClientsChosen}},
	"pseudo IPv4":            {func(s *State) { s.Clients.Pseudo = true }, reasons{ClientsPseudo}},
	"a folder in use":        {func(s *State) { s.Folder.Owner = "process 7 on web1" }, reasons{FolderInUse}},
	"a folder without locks": {func(s *State) { s.Folder.Problem = "permission denied" }, reasons{FolderUnlocked}},
	"a file is not written": {func(s *State) { s.Unwritten = []Unwritten{{Since: now, Error: "no space left on device"}} },
		reasons{FolderUnwritten}},
	"redis away":             {func(s *State) { s.Redis.Up = false }, reasons{RedisAway}},
	"history away":           {func(s *State) { s.History.Database.Up = false }, reasons{HistoryAway}},
	"history lost something": {func(s *State) { s.History.Recorder.Lost = new(now.Add(1 - time.Hour)) }, reasons{HistoryLost}},
	"that is an hour ago":    {func(s *State) { s.History.Recorder.Lost = new(now.Add(-time.Hour)) }, nil},

	"refused":                  {provider(func(p *quota.Status) { p.Up, p.RefusedUntil = false, now.Add(1) }), reasons{ProviderRefused}},
	"refused without a key":    {provider(func(p *quota.Status) { p.Up, p.Keyless, p.RefusedUntil = false, true, now.Add(1) }), reasons{ProviderRefused}},
	"set aside":                {provider(func(p *quota.Status) { p.Up, p.SetAside = false, "it has everybody" }), reasons{ProviderSetAside}},
	"being tested":             {provider(func(p *quota.Status) { p.Untested = true }), nil},
	"its test has no answer":   {provider(func(p *quota.Status) { p.Up, p.Untested = false, true }), reasons{ProviderFailing}},
	"throttled":                {provider(func(p *quota.Status) { p.Up, p.ThrottledUntil = false, now.Add(1) }), reasons{ProviderThrottled}},
	"failing":                  {provider(func(p *quota.Status) { p.Up, p.OpenUntil = false, now.Add(1) }), reasons{ProviderFailing}},
	"half open":                {provider(func(p *quota.Status) { p.Up = false }), reasons{ProviderFailing}},
	"a tenth of a quota":       {provider(func(p *quota.Status) { p.Windows[0].Used = 900 }), nil},
	"less than a tenth":        {provider(func(p *quota.Status) { p.Windows[0].Used = 901 }), reasons{QuotaLow}},
	"spent":                    {provider(func(p *quota.Status) { p.Windows[0].Used = 1000 }), reasons{QuotaSpent}},
	"a minute's is spent":      {provider(func(p *quota.Status) { p.Windows[0].Period, p.Windows[0].Used = "minute", 1000 }), nil},
	"an hour's is spent":       {provider(func(p *quota.Status) { p.Windows[0].Period, p.Windows[0].Used = "hour", 1000 }), reasons{QuotaSpent}},
	"spent until now":          {provider(func(p *quota.Status) { p.Windows[0].Used, p.Windows[0].Reset = 1000, now }), nil},
	"one of one call a day":    {provider(func(p *quota.Status) { p.Windows[0].Limit, p.Windows[0].Used = 1, 0 }), nil},
	"refused, and little left": {provider(func(p *quota.Status) { p.RefusedUntil, p.Windows[0].Used = now.Add(1), 999 }), reasons{ProviderRefused, QuotaLow}},

	"a key set aside, another used": {keys(KeySetAside, KeyInUse), reasons{KeyRefused}},
	"a key waits, another used":     {keys(KeyWaiting, KeyInUse), reasons{KeyMissing}},
	"a list's key refused": {func(s *State) {
		s.Keys = append(s.Keys, Key{Status: secret.Status{Name: "a list"}, State: KeyIsRefused})
	}, reasons{KeyRefused}},
	"all keys set aside":       {keys(KeySetAside, KeySetAside), reasons{ProviderRefused}},
	"one set aside, one waits": {keys(KeySetAside, KeyWaiting), reasons{ProviderRefused}},
	"all keys wait":            {keys(KeyWaiting, KeyWaiting), reasons{KeyMissing}},
	"the keys of another provider wait": {func(s *State) {
		s.Keys = append(s.Keys, Key{Status: secret.Status{Name: "other"}, State: KeyWaiting})
	}, nil},
	"a provider without keys": {func(s *State) { s.Keys = nil }, nil},

	"a token that is too short": {keys(KeyUnfit, KeyInUse), reasons{KeyTooShort}},
	"a token that has ended":    {func(s *State) { s.Keys[0].State, s.Keys[0].Expires = KeyOver, now.Add(-1) }, reasons{KeyEnded}},

	"ends in 30 days":   {end(30*day, false), reasons{KeyEnds}},
	"ends later":        {end(30*day+1, false), nil},
	"has ended":         {end(0, false), reasons{KeyEnded}},
	"a lease ends soon": {end(time.Minute, true), nil},
	"a file is gone":    {func(s *State) { s.Keys[0].Error = "no such file" }, reasons{KeyUnreadable}},
	"a lease has ended": {end(-1, true), reasons{KeyEnded}},
	"refused, and it has ended": {func(s *State) {
		s.Keys[1].State, s.Keys[1].Expires = KeySetAside, now.Add(-1)
	}, reasons{KeyEnded}},

	"never fetched":                {list(func(l *List) { l.Loaded, l.LastSuccess = false, time.Time{} }), reasons{ListEmpty}},
	"a day without success":        {list(func(l *List) { l.LastSuccess = now.Add(-day) }), nil},
	"more than a day":              {list(func(l *List) { l.LastSuccess = now.Add(-day - 1) }), reasons{ListStale}},
	"as long as it may be":         {list(func(l *List) { l.Patience, l.LastSuccess = 3*day, now.Add(-3*day) }), nil},
	"longer than it may be":        {list(func(l *List) { l.Patience, l.LastSuccess = 3*day, now.Add(-3*day-1) }), reasons{ListStale}},
	"failed once":                  {list(failing("timeout", 1)), nil},
	"a file unreadable for an age": {own(failing("error", 1)), reasons{ListStale}},

	"redis is away, and cannot subscribe": {func(s *State) { s.Redis.Up, s.Redis.Deaf = false, "no permission" }, reasons{RedisAway}},
	"redis has another clock":             {func(s *State) { s.Redis.Ahead = 3600 }, reasons{RedisClock}},
	"redis cannot subscribe":              {func(s *State) { s.Redis.Deaf = "no permission" }, reasons{RedisUnsubscribed}},
	"redis refuses some calls":            {func(s *State) { s.Redis.Refused = "no permission" }, reasons{RedisRefuses}},
	"a batch is refused":                  {recording(func(r *recorder.Status) { r.Store = broken() }), reasons{HistoryRefused}},
	"no folder can be written":            {recording(func(r *recorder.Status) { r.Disk = broken() }), reasons{HistoryUnsaved}},
	"no day can be added":                 {func(s *State) { s.History.Database.Upkeep = "not the owner" }, reasons{HistoryUpkeep}},
	"all of the history fails": {func(s *State) {
		s.History.Database.Upkeep = "not the owner"
		s.History.Recorder = recorder.Status{Store: broken(), Disk: broken(), Lost: new(now)}
	}, reasons{HistoryRefused, HistoryUpkeep, HistoryUnsaved, HistoryLost}},
	"away, which is why a batch waits": {func(s *State) {
		s.History.Database.Up, s.History.Recorder.Store = false, broken()
	}, reasons{HistoryAway}},
	"sentry takes nothing": {func(s *State) { s.Sentry.Problem = "status 401" }, reasons{SentryUndelivered}},

	"failed twice":                     {list(failing("timeout", failuresAreNews-1)), nil},
	"failed again and again":           {list(failing("timeout", failuresAreNews)), reasons{ListFailing}},
	"a file became unreadable":         {own(func(l *List) { failing("error", 1)(l); l.LastSuccess = now.Add(-day) }), reasons{ListFailing}},
	"not stored":                       {list(failing("not_stored", 0)), reasons{ListNotStored}},
	"not stored, but that is the past": {list(func(l *List) { l.LastResult, l.LastError = "unchanged", "" }), nil},
	"as old as it may be":              {list(func(l *List) { l.MaxAge, l.Published = 30*day, now.Add(-30*day) }), nil},
	"older than it may be":             {list(func(l *List) { l.MaxAge, l.Published = 30*day, now.Add(-30*day-1) }), reasons{ListOld}},
	"old, and nobody minds":            {list(func(l *List) { l.Published = now.Add(-900 * day) }), nil},
	"without a date":                   {list(func(l *List) { l.MaxAge = 30 * day }), nil},
	"wrong lines in our own list":      {own(func(l *List) { l.Ignored, l.FirstIgnored = 2, "line 7" }), reasons{ListWrongLines}},
	"the same as another":              {list(func(l *List) { l.SameAs = "two" }), reasons{ListRepeated}},
	"a database is not there":          {database(func(d *mmdb.Status) { d.Loaded, d.Problem = false, "no such file" }), reasons{DatabaseMissing}},
	"its new file is broken":           {database(func(d *mmdb.Status) { d.Problem = "damaged" }), reasons{DatabaseFailing}},
	"it is as old as it may be":        {database(func(d *mmdb.Status) { d.Built = now.Add(-40 * day) }), nil},
	"it is older":                      {database(func(d *mmdb.Status) { d.Built = now.Add(-40*day - 1) }), reasons{DatabaseOld}},
	"it may be older":                  {database(func(d *mmdb.Status) { d.Built, d.MaxAge = now.Add(-999*day), 0 }), nil},
	"it does not say how old it is":    {database(func(d *mmdb.Status) { d.Built = time.Time{} }), nil},
	"ranges of a bot that are old": {list(func(l *List) {
		l.Role, l.MaxAge, l.Published = "bots", 30*day, now.Add(-30*day-1)
	}), reasons{ListOld}},
	"bots are verified":          {func(s *State) { s.Bots = &Bots{Verified: 3} }, nil},
	"their resolver is hijacked": {func(s *State) { s.Bots = &Bots{Verified: 3, Hijacked: true} }, reasons{BotsResolver}},
	"wrong lines in a feed":      {list(func(l *List) { l.Ignored, l.FirstIgnored = 2, "line 7" }), nil},
}

// database is a change of the database that is well.
func database(change func(*mmdb.Status)) func(*State) {
	return func(s *State) { change(&s.Databases[0]) }
}

// broken is the failure of a part of the history.
func broken() *recorder.Failure {
	return &recorder.Failure{At: now, Error: "it is broken", Cure: "mend it"}
}

// TestJudge proves what is a reason to look and what is none.
func TestJudge(t *testing.T) {
	for name, tc := range judgements {
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

func provider(change func(*quota.Status)) func(*State) {
	return func(s *State) { change(&s.Providers[0]) }
}

func list(change func(*List)) func(*State) { return func(s *State) { change(&s.Lists[0]) } }

func own(change func(*List)) func(*State) { return func(s *State) { change(&s.Lists[1]) } }

func recording(change func(*recorder.Status)) func(*State) {
	return func(s *State) { change(&s.History.Recorder) }
}

func failing(result string, times int) func(*List) {
	return func(l *List) { l.LastResult, l.LastError, l.Failures = result, "it is broken", times }
}

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

// Sentences have times in UTC, in whatever zone the server is.
func TestFormatTime(t *testing.T) {
	noon := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	if got := FormatTime(noon.In(time.FixedZone("", 3600))); got != "2026-11-26 12:00:00 UTC" {
		t.Errorf("noon is %q", got)
	}
}

// A warning says what the service said, and what to do. A refusal may be about the plan and not about the key.
func TestWarningsOfProvidersHaveACure(t *testing.T) {
	for _, tc := range []struct {
		change func(*quota.Status)
		want   []string
	}{
		{func(p *quota.Status) { p.RefusedUntil, p.LastError = now.Add(1), "status 402" },
			[]string{"status 402", "check the key and its plan"}},
		{func(p *quota.Status) { p.ThrottledUntil, p.LastError = now.Add(1), "status 429" },
			[]string{"status 429", "write a smaller `quota` or `rate`"}},
	} {
		s := well()
		provider(tc.change)(&s)
		w := Judge(s, now).Warnings[0]
		for _, want := range tc.want {
			if !strings.Contains(w.Detail, want) {
				t.Errorf("it lacks %q: %s", want, w.Detail)
			}
		}
	}
}

// Calls that are spread over the day are no fault of the provider.
func TestPaced(t *testing.T) {
	s := well()
	s.Providers[0].PacedUntil = now.Add(time.Minute)
	if got := Paced(s.Providers[0]); !strings.Contains(got, "the next one is at 2026-11-24 12:01:00 UTC") {
		t.Errorf("it says %q", got)
	}
	if got := Problem(s.Providers[0], s.Keys, now); got != "" {
		t.Errorf("a problem: %s", got)
	}
}

// A test of a provider that is due already is repeated now, not in the year 1.
func TestTestIsRepeated(t *testing.T) {
	for due, want := range map[time.Time]string{
		{}:                       "is repeated now: it lies",
		now.Add(5 * time.Second): "is repeated after 2026-11-24 12:00:05 UTC: it lies",
	} {
		for _, s := range []quota.Status{
			{SetAside: "it lies", NextTest: due},
			{Untested: true, LastError: "it lies", NextTest: due},
		} {
			if got := Problem(s, nil, now); !strings.HasSuffix(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
}

// An operator reads of a list what its warning says, and of a first failure, of which there is no warning yet, its error.
func TestListProblem(t *testing.T) {
	good := feed.Status{Name: "a", Loaded: true, LastSuccess: now}
	for _, tc := range []struct {
		change func(*feed.Status)
		want   string
	}{
		{func(*feed.Status) {}, ""},
		{func(s *feed.Status) { s.Failures, s.LastResult, s.LastError = 1, "error", "connection refused" }, "connection refused"},
		{func(s *feed.Status) { s.Published, s.MaxAge = now.Add(-48*time.Hour), 24*time.Hour }, "was last changed by its publisher at 2026-"},
	} {
		l := List{Status: good, Role: "feed"}
		tc.change(&l.Status)
		if got := ListProblem(l, now); (got == "") != (tc.want == "") || !strings.HasPrefix(got, tc.want) {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}
