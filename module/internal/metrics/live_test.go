package metrics

import (
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fake is an instance with what a test gives it.
type fake struct {
	providers []ProviderState
	feeds     []FeedState
	keys      []KeyState
	records   int
	evicted   *uint64
	broken    bool
	shared    bool
	up        bool
	history   *HistoryState
}

func (f *fake) Providers() []ProviderState { return f.providers }
func (f *fake) Feeds() []FeedState         { return f.feeds }

func (f *fake) Keys() []KeyState         { return f.keys }
func (f *fake) Redis() (shared, up bool) { return f.shared, f.up }
func (f *fake) History() *HistoryState   { return f.history }
func (f *fake) Panicked(any)             {}

func (f *fake) Memory() (records int, evictions uint64) {
	if f.broken {
		panic("broken")
	}
	if f.evicted != nil {
		evictions = *f.evicted
	}
	return f.records, evictions
}

func TestGaugesShowTheNewestInstance(t *testing.T) {
	reg := pedantic(t)
	bare := scrape(t, reg)
	expect := func(when string, want map[string]float64) {
		t.Helper()
		got := scrape(t, reg)
		maps.DeleteFunc(got, func(name string, _ float64) bool { _, ok := bare[name]; return ok })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", when, diff)
		}
	}

	detachOld := Attach(&fake{
		providers: []ProviderState{
			{Name: "abuseipdb", Up: true, Windows: []WindowState{{"day", 1000, 1000}, {"hour", 100, 50}}},
			{Name: "removed", Up: true},
		},
		feeds:   []FeedState{{Name: "tor_exits", Entries: 1200, LastSuccess: time.Unix(1_700_000_000, 0)}},
		records: 10,
	})
	old := map[string]float64{
		`provider_up{provider="abuseipdb"}`:                            1,
		`provider_up{provider="removed"}`:                              1,
		`provider_quota_remaining{provider="abuseipdb",window="day"}`:  1000,
		`provider_quota_remaining{provider="abuseipdb",window="hour"}`: 50,
		`provider_quota_limit{provider="abuseipdb",window="day"}`:      1000,
		`provider_quota_limit{provider="abuseipdb",window="hour"}`:     100,
		`feed_entries{feed="tor_exits"}`:                               1200,
		`feed_last_success_timestamp_seconds{feed="tor_exits"}`:        1_700_000_000,
		`memory_records{}`: 10,
	}
	expect("one instance", old)

	detachNew := Attach(&fake{
		providers: []ProviderState{
			{Name: "abuseipdb", Windows: []WindowState{{"day", 1000, 400}}},
			{Name: "abuseipdb", Up: true}, // the same name twice must not break the scrape either
		},
		feeds:   []FeedState{{Name: "ipsum"}},
		keys:    []KeyState{{"abuseipdb", "1f3a9c04", time.Unix(1_800_000_000, 0)}},
		records: 20,
		shared:  true,
		up:      true,
		history: &HistoryState{Up: true, Queued: 3, Written: 40, Dropped: map[string]int64{"queue": 0, "spool": 5}, Spool: 600, Oldest: time.Unix(1_700_000_000, 0)},
	})
	reloaded := map[string]float64{
		`provider_up{provider="abuseipdb"}`:                                 0,
		`provider_quota_remaining{provider="abuseipdb",window="day"}`:       400,
		`provider_quota_limit{provider="abuseipdb",window="day"}`:           1000,
		`feed_entries{feed="ipsum"}`:                                        0,
		`feed_last_success_timestamp_seconds{feed="ipsum"}`:                 0,
		`memory_records{}`:                                                  20,
		`redis_up{}`:                                                        1,
		`history_up{}`:                                                      1,
		`history_queued{}`:                                                  3,
		`history_spool_bytes{}`:                                             600,
		`history_oldest_timestamp_seconds{}`:                                1_700_000_000,
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
	defer Attach(&fake{records: 10})()
	Attach(&fake{records: 20})()
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
	first := Attach(&fake{evicted: &shared})
	shared = 100
	expect("one instance", 100)

	shared = 150
	second := Attach(&fake{evicted: &shared}) // a reload that keeps the memory
	shared = 160
	expect("two that share a memory", 160)
	first()
	expect("the old one is gone", 160)

	var own uint64
	third := Attach(&fake{evicted: &own}) // a reload with another size of memory
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
	fourth := Attach(&fake{evicted: &own})
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
	f := &fake{records: 1, evicted: &evicted}
	defer Attach(f)()
	f.broken = true
	scrape(t, reg)
	f.broken = false
	if got := scrape(t, reg)["memory_evictions_total{}"] - before; got != 0 {
		t.Errorf("a panic changed the counter by %v", got)
	}
}
