package metrics

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history/recorder"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/postgres"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
)

// fake is an instance with what a test gives it.
type fake struct {
	state   health.State
	evicted *uint64
	broken  bool
}

func (f *fake) Panicked(any) {}

func (f *fake) State() health.State {
	if f.broken {
		panic("broken")
	}
	s := f.state
	if f.evicted != nil {
		s.Memory = &health.Memory{Evictions: *f.evicted}
	}
	return s
}

// attached are the instances that tests show, as the registry of configurations has them.
var attached struct {
	mu   sync.Mutex
	list []Instance
}

// attach shows an instance beside those that are shown already, until detach is called. More calls
// do nothing.
func attach(i Instance) (detach func()) {
	attached.mu.Lock()
	defer attached.mu.Unlock()
	attached.list = append(attached.list, i)
	Show(attached.list...)
	return func() {
		attached.mu.Lock()
		defer attached.mu.Unlock()
		attached.list = slices.DeleteFunc(attached.list, func(other Instance) bool { return other == i })
		Show(attached.list...)
	}
}

func records(n int) health.State { return health.State{Memory: &health.Memory{Records: n}} }

func window(period string, limit, remaining int) quota.WindowStatus {
	return quota.WindowStatus{Window: fmt.Sprint(limit, "/", period), Period: period, Limit: limit, Used: limit - remaining}
}

func list(name string, entries int, success time.Time) health.List {
	return health.List{Status: feed.Status{Name: name, Kind: feed.KindURL, Entries: entries, LastSuccess: success}}
}

func TestGaugesShowTheNewestInstance(t *testing.T) {
	reg := pedantic(t)
	bare := scrape(t, reg)
	expect := func(when string, want map[string]float64) {
		t.Helper()
		got := scrape(t, reg)
		maps.DeleteFunc(got, func(name string, _ float64) bool {
			_, ok := bare[name]
			return ok || strings.HasPrefix(name, "protection_off") // TestProtectionOff
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", when, diff)
		}
	}

	detachOld := attach(&fake{state: health.State{
		Providers: []quota.Status{
			{Name: "abuseipdb", Up: true, Windows: []quota.WindowStatus{window("day", 1000, 1000), window("hour", 100, 50)}},
			{Name: "removed", Up: true},
		},
		Lists: []health.List{
			list("tor_exits", 1200, time.Unix(1_700_000_000, 0)),
			{Role: "deny", Status: feed.Status{Name: "deny", Kind: feed.KindValues, Entries: 3}}, // never refreshed, so not shown
		},
		Memory: &health.Memory{Records: 10},
	}})
	old := map[string]float64{
		`provider_up{provider="abuseipdb"}`:                            1,
		`provider_up{provider="removed"}`:                              1,
		`provider_quota_remaining{provider="abuseipdb",window="day"}`:  1000,
		`provider_quota_remaining{provider="abuseipdb",window="hour"}`: 50,
		`provider_quota_limit{provider="abuseipdb",window="day"}`:      1000,
		`provider_quota_limit{provider="abuseipdb",window="hour"}`:     100,
		`provider_price{provider="abuseipdb"}`:                         0,
		`feed_entries{feed="tor_exits"}`:                               1200,
		`feed_last_success_timestamp_seconds{feed="tor_exits"}`:        1_700_000_000,
		`memory_records{}`: 10,
	}
	expect("one instance", old)

	dated := list("ipsum", 0, time.Time{})
	dated.Published, dated.MaxAge = time.Unix(1_600_000_000, 0), 30*24*time.Hour
	detachNew := attach(&fake{state: health.State{
		Providers: []quota.Status{
			{Name: "abuseipdb", Price: .25, Windows: []quota.WindowStatus{window("day", 1000, 400)}},
			{Name: "abuseipdb", Up: true}, // the same name twice must not break the scrape either
		},
		Lists: []health.List{dated},
		Keys: []health.Key{
			{Status: secret.Status{Name: "abuseipdb", Fingerprint: "1f3a9c04", Expires: time.Unix(1_800_000_000, 0)}},
			{Status: secret.Status{Name: "abuseipdb", Fingerprint: "00000000", Expires: time.Unix(1_800_000_000, 0), Lease: true}},
			{Status: secret.Status{Name: "abuseipdb", Fingerprint: "99999999"}}, // without an end
		},
		Memory: &health.Memory{Records: 20},
		Redis:  &redis.Status{Up: true},
		History: &health.History{Database: postgres.Status{Up: true, Upkeep: "not the owner"}, Recorder: recorder.Status{
			Waiting: 3, Written: 40, Folded: 9, Dropped: map[string]int64{"queue": 0, "spool": 5},
			Spool: recorder.SpoolStatus{Bytes: 600}, Oldest: new(time.Unix(1_700_000_000, 0)),
		}},
	}})
	reloaded := map[string]float64{
		`provider_up{provider="abuseipdb"}`:                                 0,
		`provider_quota_remaining{provider="abuseipdb",window="day"}`:       400,
		`provider_quota_limit{provider="abuseipdb",window="day"}`:           1000,
		`provider_price{provider="abuseipdb"}`:                              .25,
		`feed_entries{feed="ipsum"}`:                                        0,
		`feed_last_success_timestamp_seconds{feed="ipsum"}`:                 0,
		`feed_content_timestamp_seconds{feed="ipsum"}`:                      1_600_000_000,
		`feed_max_age_seconds{feed="ipsum"}`:                                2_592_000,
		`memory_records{}`:                                                  20,
		`redis_up{}`:                                                        1,
		`history_up{}`:                                                      1,
		`history_upkeep_failed{}`:                                           1,
		`history_queued{}`:                                                  3,
		`history_spool_bytes{}`:                                             600,
		`history_oldest_timestamp_seconds{}`:                                1_700_000_000,
		`history_folded_total{}`:                                            9,
		`history_written_total{}`:                                           40,
		`history_dropped_total{reason="queue"}`:                             0,
		`history_dropped_total{reason="spool"}`:                             5,
		`key_expiry_timestamp_seconds{key="1f3a9c04",provider="abuseipdb"}`: 1_800_000_000,
	}
	both := maps.Clone(old)
	maps.Copy(both, reloaded)
	expect("two instances", both)

	detachOld()
	detachOld()
	expect("the old one is gone", reloaded)
	detachNew()
	expect("both are gone", map[string]float64{})
}

func TestAFailedReloadGivesTheGaugesBack(t *testing.T) {
	reg := pedantic(t)
	defer attach(&fake{state: records(10)})()
	attach(&fake{state: records(20)})()
	if got := scrape(t, reg)["memory_records{}"]; got != 10 {
		t.Errorf("memory_records = %v, want 10", got)
	}
}

func TestEvictionsNeverFallAndAreCountedOnce(t *testing.T) {
	reg := pedantic(t)
	start := scrape(t, reg)["memory_evictions_total{}"]
	expect := func(when string, want float64) {
		t.Helper()
		if got := scrape(t, reg)["memory_evictions_total{}"] - start; got != want {
			t.Errorf("%s: %v evictions, want %v", when, got, want)
		}
	}

	var shared uint64
	first := attach(&fake{evicted: &shared})
	shared = 100
	expect("one instance", 100)

	shared = 150
	second := attach(&fake{evicted: &shared}) // a reload that keeps the memory
	shared = 160
	expect("two that share a memory", 160)
	first()
	expect("the old one is gone", 160)

	var own uint64
	third := attach(&fake{evicted: &own}) // a reload with another size of memory
	own = 5
	expect("a new memory begins at zero", 165)
	third()
	expect("the new one failed", 165)
	shared = 170
	expect("the old one goes on", 175)
	shared = 180
	second()
	expect("none is left", 185)

	own = 1000
	fourth := attach(&fake{evicted: &own})
	defer fourth()
	own = 3 // not a promise that an instance keeps; the counter must
	expect("a memory that counts backwards", 185)
	own = 4
	expect("and on", 186)
}

func TestABrokenInstanceDoesNotBreakTheScrape(t *testing.T) {
	reg := pedantic(t)
	before := scrape(t, reg)["memory_evictions_total{}"]
	evicted := uint64(10)
	f := &fake{evicted: &evicted}
	defer attach(f)()
	f.broken = true
	scrape(t, reg)
	f.broken = false
	if got := scrape(t, reg)["memory_evictions_total{}"] - before; got != 0 {
		t.Errorf("a panic changed the counter by %v", got)
	}
}

// TestAnInstanceThatBeginsBroken proves that evictions of an instance that could not be read at
// first are not counted as new.
func TestAnInstanceThatBeginsBroken(t *testing.T) {
	reg := pedantic(t)
	start := scrape(t, reg)["memory_evictions_total{}"]
	evicted := uint64(1000)
	f := &fake{evicted: &evicted, broken: true}
	defer attach(f)()
	f.broken = false
	for _, want := range []float64{0, 7} {
		if got := scrape(t, reg)["memory_evictions_total{}"] - start; got != want {
			t.Errorf("%v evictions, want %v", got, want)
		}
		evicted += 7
	}
}

// TestProtectionOff proves that each reason is a series from the start, and is 1 while protection is off.
func TestProtectionOff(t *testing.T) {
	reg := pedantic(t)
	state := health.State{Lists: []health.List{list("f", 1, time.Time{})}, Sites: &health.Sites{All: 5, Protected: 3}}
	shown := &fake{state: state}
	defer attach(shown)()
	series := func(reason string) string { return `protection_off{reason="` + reason + `"}` }
	all := []string{"exempt", "no_address", "no_site", "no_source", "one_address", "rule"}
	expect := func(off ...string) {
		t.Helper()
		got := scrape(t, reg)
		for _, reason := range all {
			value, there := got[series(reason)]
			if !there || (value == 1) != slices.Contains(off, reason) {
				t.Errorf("%s is %v, there: %t", series(reason), value, there)
			}
		}
	}
	expect()
	if got := scrape(t, reg); got[`sites{handler="yes"}`] != 3 || got[`sites{handler="no"}`] != 2 {
		t.Errorf("the sites are %v and %v", got[`sites{handler="yes"}`], got[`sites{handler="no"}`])
	}
	state.Unused, state.Clients.Exempt, state.Clients.OneAddress = true, true, true
	shown.state = state
	expect("no_site", "exempt", "one_address")
}
