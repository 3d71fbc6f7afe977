package metrics

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/bots"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/mmdb"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// pedantic returns a registry of the kind that Caddy makes for each configuration, with the metrics in it.
func pedantic(t *testing.T) *prometheus.Registry {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := Register(reg); err != nil {
		t.Fatal(err)
	}
	return reg
}

// scrape returns the value of every series, such as `feed_entries{feed="tor"}`; that of a histogram
// or of a summary is its count.
func scrape(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatalf("a scrape fails: %v", err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values[seriesName(f, m)] = m.GetCounter().GetValue() + m.GetGauge().GetValue() +
				float64(m.GetHistogram().GetSampleCount()+m.GetSummary().GetSampleCount())
		}
	}
	return values
}

func seriesName(f *dto.MetricFamily, m *dto.Metric) string {
	var labels []string
	for _, l := range m.GetLabel() {
		labels = append(labels, l.GetName()+"="+`"`+l.GetValue()+`"`)
	}
	return strings.TrimPrefix(f.GetName(), namespace+"_") + "{" + strings.Join(labels, ",") + "}"
}

// without returns the names of the series that are in a and not in b.
func without(a, b map[string]float64) []string {
	var names []string
	for name := range a {
		if _, ok := b[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestRedisSeriesGoWithTheirLastUser(t *testing.T) {
	reg := pedantic(t)
	count := func() (ok float64, there bool) {
		ok, there = scrape(t, reg)[`redis_requests_total{result="ok"}`]
		return ok, there
	}
	if _, there := count(); there {
		t.Error("there is a series without Redis")
	}
	before, after := OpenRedis("ok", "timeout"), OpenRedis("ok", "timeout")
	before.Count(0)
	after.Count(0)
	after.Count(-1)
	after.Count(2)
	before.Close()
	before.Close()
	if ok, _ := count(); ok != 2 {
		t.Errorf("%v exchanges, want 2", ok)
	}
	after.Close()
	if _, there := count(); there {
		t.Error("the series outlive their users")
	}
}

func TestViolationSeriesGoWithTheirLastUser(t *testing.T) {
	reg := pedantic(t)
	count := func(name string) (n float64, there bool) {
		n, there = scrape(t, reg)[`violations_total{violation="`+name+`"}`]
		return n, there
	}
	before, after := OpenViolations("trap", "spam"), OpenViolations("trap", "probe")
	CountViolation("trap")
	before()
	before()
	CountViolation("trap")
	CountViolation("spam") // a request of the configuration before
	if n, _ := count("trap"); n != 2 {
		t.Errorf("%v violations, want 2", n)
	}
	if _, there := count("spam"); there {
		t.Error("there is a series of a violation that nobody knows any more")
	}
	if n, there := count("probe"); n != 0 || !there {
		t.Error("there is no zero before the first violation")
	}
	after()
	CountViolation("trap")
	if _, there := count("trap"); there {
		t.Error("the series outlive their users")
	}
}

func TestAPISeriesGoWithTheirLastUser(t *testing.T) {
	reg := pedantic(t)
	before, after := OpenAPI("address", "me"), OpenAPI("address", "me")
	before.Count(1, 200)
	after.Count(1, 200)
	after.Count(0, 503)
	for _, c := range [][2]int{{-1, 200}, {2, 200}, {0, 0}, {0, 600}} {
		after.Count(c[0], c[1])
	}
	before.Close()
	got := map[string]float64{}
	for name, value := range scrape(t, reg) {
		if labels, ok := strings.CutPrefix(name, "api_requests_total"); ok {
			got[labels] = value
		}
	}
	want := map[string]float64{
		`{code="200",route="address"}`: 0, `{code="401",route="address"}`: 0, `{code="429",route="address"}`: 0,
		`{code="200",route="me"}`: 2, `{code="401",route="me"}`: 0, `{code="429",route="me"}`: 0,
		`{code="503",route="address"}`: 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	after.Close()
	if _, there := scrape(t, reg)[`api_requests_total{code="200",route="me"}`]; there {
		t.Error("the series outlive their users")
	}
}

func TestRegisterIsForgiving(t *testing.T) {
	reg := pedantic(t)
	if err := Register(reg); err != nil {
		t.Errorf("a second handler in one configuration: %v", err)
	}
	if err := Register(prometheus.WrapRegistererWith(nil, reg)); err != nil {
		t.Errorf("the same registry in disguise: %v", err)
	}
	if err := Register(nil); err != nil {
		t.Errorf("no registry: %v", err)
	}
	if err := Register((*prometheus.Registry)(nil)); err != nil {
		t.Errorf("a nil registry: %v", err)
	}
}

func TestRegisterReportsOtherMetricsOfTheSameName(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: namespace + "_lookups_total", Help: "Not ours."}))
	if err := Register(reg); err == nil {
		t.Fatal("no error")
	}
}

func TestCountsGoOnInANewRegistry(t *testing.T) {
	const name = `requests_total{action="block",mode="enforce",status="stale"}`
	first := pedantic(t)
	before := scrape(t, first)[name]
	CountRequest(reputation.Block, true, reputation.Stale)

	second := pedantic(t)
	CountRequest(reputation.Block, true, reputation.Stale)
	for which, reg := range map[string]*prometheus.Registry{"old": first, "new": second} {
		if got := scrape(t, reg)[name] - before; got != 2 {
			t.Errorf("the %s registry shows %v requests more, want 2", which, got)
		}
	}
}

func TestEverythingIsThereFromTheStart(t *testing.T) {
	reg := pedantic(t)
	got := map[string]int{}
	for name := range scrape(t, reg) {
		family, _, _ := strings.Cut(name, "{")
		got[family]++
	}
	want := map[string]int{
		"requests_total":               5 * 2 * 6,
		"bans_spared_total":            14,
		"score":                        1,
		"lookups_total":                5,
		"lookup_duration_seconds":      5,
		"client_address_suspect_total": 4,
		"bot_claims_total":             4,
		"violations_ignored_total":     15,
		"bans_total":                   3,
		"memory_evictions_total":       1,
		"build_info":                   1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCountsReachTheSeriesTheyName(t *testing.T) {
	reg := pedantic(t)
	provider, feed := OpenProvider("abuseipdb"), OpenFeed("tor_exits", "ok", "refused_html")
	defer provider.Close()
	defer feed.Close()
	defer OpenViolations("trap", "login_failed")()

	tests := map[string]func(){
		`requests_total{action="pass",mode="observe",status="fresh"}`:            func() { CountRequest(reputation.Pass, false, reputation.Fresh) },
		`requests_total{action="drop",mode="enforce",status="exempt"}`:           func() { CountRequest(reputation.Drop, true, reputation.Exempt) },
		`lookups_total{origin="memory"}`:                                         func() { CountLookup(reputation.OriginMemory) },
		`lookup_duration_seconds{origin="provider"}`:                             func() { ObserveLookup(reputation.OriginProvider, time.Millisecond) },
		`bot_claims_total{outcome="fake"}`:                                       func() { CountBot(bots.Fake) },
		`client_address_suspect_total{reason="proxy"}`:                           func() { CountSuspects(SuspectProxy, 1) },
		`violations_total{violation="login_failed"}`:                             func() { CountViolation("login_failed") },
		`violations_ignored_total{reason="foreign"}`:                             func() { CountIgnoredViolation("foreign") },
		`violations_ignored_total{reason="excess"}`:                              func() { CountIgnoredViolation("excess") },
		`bans_total{by="rule"}`:                                                  func() { CountBan("rule") },
		`provider_requests_total{provider="abuseipdb",result="skipped_breaker"}`: func() { provider.Count(reputation.ResultSkippedBreaker, 0) },
		`provider_requests_total{provider="abuseipdb",result="skipped_quota"}`:   func() { provider.Count(reputation.ResultSkippedQuota, 0) },
		`provider_request_addresses{provider="abuseipdb"}`:                       func() { provider.CountSent(20) },
		`feed_refreshes_total{feed="tor_exits",result="refused_html"}`:           func() { feed.Count("refused_html") },
	}
	for name, count := range tests {
		t.Run(name, func(t *testing.T) {
			want := scrape(t, reg)
			if _, ok := want[name]; !ok {
				t.Fatal("no such series before the first event")
			}
			count()
			want[name]++
			if diff := cmp.Diff(want, scrape(t, reg)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("a request that was sent is timed", func(t *testing.T) {
		want := scrape(t, reg)
		provider.Count(reputation.ResultTimeout, 2*time.Second)
		want[`provider_requests_total{provider="abuseipdb",result="timeout"}`]++
		want[`provider_request_duration_seconds{provider="abuseipdb"}`]++
		if diff := cmp.Diff(want, scrape(t, reg)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("values out of range count nowhere", func(t *testing.T) {
		want := scrape(t, reg)
		CountRequest(reputation.NumActions, true, reputation.Fresh)
		CountRequest(reputation.Pass, true, reputation.NumStatuses)
		CountLookup(reputation.NumOrigins)
		ObserveLookup(reputation.NumOrigins, 1)
		CountSuspects(numSuspects, 1)
		provider.Count(reputation.NumResults, 1)
		feed.Count("no such result")
		CountViolation("of nobody")
		CountIgnoredViolation("no such reason")
		CountBan("nobody")
		if diff := cmp.Diff(want, scrape(t, reg)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestDurationsAreInSeconds(t *testing.T) {
	reg := pedantic(t)
	sum := func() float64 {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if seriesName(f, m) == `lookup_duration_seconds{origin="redis"}` {
					return m.GetHistogram().GetSampleSum()
				}
			}
		}
		t.Fatal("no such histogram")
		return 0
	}
	before := sum()
	ObserveLookup(reputation.OriginRedis, 250*time.Millisecond)
	if got := sum() - before; got != 0.25 {
		t.Errorf("250 ms were recorded as %v s", got)
	}
}

func TestSeriesGoWithTheirLastUser(t *testing.T) {
	reg := pedantic(t)
	bare := scrape(t, reg)

	old, oldFeed := OpenProvider("greynoise"), OpenFeed("ipsum", "ok")
	old.Count(reputation.ResultOK, time.Second)
	reloaded, reloadedFeed := OpenProvider("greynoise"), OpenFeed("ipsum", "ok")
	for range 2 { // closing twice must not take the new configuration's series
		old.Close()
		oldFeed.Close()
	}
	reloaded.Count(reputation.ResultOK, time.Second)
	if got := scrape(t, reg)[`provider_requests_total{provider="greynoise",result="ok"}`]; got != 2 {
		t.Errorf("after a reload the counter is at %v, want 2", got)
	}

	reloaded.Close()
	reloadedFeed.Close()
	reloaded.Count(reputation.ResultOK, time.Second) // a request that was still under way
	reloaded.CountSent(1)
	if extra := without(scrape(t, reg), bare); len(extra) > 0 {
		t.Errorf("series of a removed provider and feed are left: %v", extra)
	}
}

func TestLabels(t *testing.T) {
	reg := pedantic(t)
	provider, feed := OpenProvider("p"), OpenFeed("f", "ok")
	defer provider.Close()
	defer feed.Close()
	defer OpenAPI("me").Close()
	defer OpenViolations("trap")()
	patient := list("f", 0, time.Time{})
	patient.Patience, patient.Published, patient.MaxAge = time.Hour, time.Unix(1_700_000_000, 0), time.Hour
	defer attach(&fake{state: health.State{
		Providers: []quota.Status{{Name: "p", Windows: []quota.WindowStatus{window("day", 1, 1)}}},
		Lists:     []health.List{patient},
		Databases: []mmdb.Status{{Name: "d", Loaded: true, Built: time.Unix(1, 0), MaxAge: time.Hour}},
		Sites:     &health.Sites{All: 5, Protected: 3},

		Violations: new(health.Violations),
		Bans:       health.Bans{By: map[string]int{"rule": 1}},
	}})()
	got := map[string]string{}
	for name := range scrape(t, reg) {
		family, labels, _ := strings.Cut(strings.TrimSuffix(name, "}"), "{")
		var names []string
		for label := range strings.SplitSeq(labels, ",") {
			name, _, _ := strings.Cut(label, "=")
			names = append(names, name)
		}
		got[family] = strings.Join(names, ",")
	}
	want := map[string]string{
		"requests_total":                      "action,mode,status",
		"lookup_duration_seconds":             "origin",
		"lookups_total":                       "origin",
		"provider_requests_total":             "provider,result",
		"provider_request_duration_seconds":   "provider",
		"provider_request_addresses":          "provider",
		"provider_quota_remaining":            "provider,window",
		"provider_quota_limit":                "provider,window",
		"provider_price":                      "provider",
		"score":                               "",
		"provider_up":                         "provider",
		"feed_entries":                        "feed",
		"feed_last_success_timestamp_seconds": "feed",
		"feed_patience_seconds":               "feed",
		"feed_content_timestamp_seconds":      "feed",
		"feed_max_age_seconds":                "feed",
		"database_up":                         "database",
		"database_build_timestamp_seconds":    "database",
		"database_max_age_seconds":            "database",
		"database_networks":                   "database",
		"feed_refreshes_total":                "feed,result",
		"memory_records":                      "",
		"protection_off":                      "reason",
		"sites":                               "handler",
		"bans":                                "by",
		"bans_total":                          "by",
		"bans_spared_total":                   "reason",
		"memory_evictions_total":              "",
		"client_address_suspect_total":        "reason",
		"bot_claims_total":                    "outcome",
		"violations_total":                    "violation",
		"violations_ignored_total":            "reason",
		"violation_clients":                   "",
		"violation_capacity":                  "",
		"violation_evictions_total":           "",
		"api_requests_total":                  "code,route",
		"build_info":                          "goversion,revision,version",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("the names break Prometheus's conventions: %v %v", problems, err)
	}
}

func TestANameThatIsNotTextDoesNoHarm(t *testing.T) {
	reg := pedantic(t)
	OpenProvider("\xff").Close()
	OpenFeed("\xff", "ok").Close()
	defer attach(&fake{state: health.State{Lists: []health.List{list("\xff", 0, time.Time{})}}})()
	if _, ok := scrape(t, reg)[`feed_entries{feed="`+"\uFFFD"+`"}`]; !ok {
		t.Error("the feed has no series")
	}
}

func TestConcurrentUse(t *testing.T) {
	reg := pedantic(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				detach := attach(&fake{state: health.State{Lists: []health.List{list("f", 0, time.Time{})}}})
				p := OpenProvider("p")
				p.Count(reputation.ResultOK, time.Second)
				CountRequest(reputation.Pass, true, reputation.Fresh)
				if _, err := reg.Gather(); err != nil {
					t.Error(err)
				}
				p.Close()
				detach()
			}
		})
	}
	wg.Wait()
}

func TestScrapeOverHTTP(t *testing.T) {
	CountLookup(reputation.OriginList)
	server := httptest.NewServer(promhttp.HandlerFor(pedantic(t), promhttp.HandlerOpts{}))
	defer server.Close()
	defer attach(&fake{state: records(7)})()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %v: %s", resp.Status, err, body)
	}
	for _, line := range []string{"caddy_ip_reputation_memory_records 7\n", "# TYPE caddy_ip_reputation_lookups_total counter\n"} {
		if !strings.Contains(string(body), line) {
			t.Errorf("the page lacks %q", line)
		}
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	provider := OpenProvider("p")
	defer provider.Close()
	defer OpenViolations("trap")()
	allocs := testing.AllocsPerRun(100, func() {
		CountRequest(reputation.Pass, false, reputation.Fresh)
		CountLookup(reputation.OriginMemory)
		ObserveLookup(reputation.OriginProvider, time.Millisecond)
		CountSuspects(SuspectMissing, 1)
		CountViolation("trap")
		provider.Count(reputation.ResultOK, time.Millisecond)
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestBuild(t *testing.T) {
	revision := []debug.BuildSetting{{Key: "vcs.revision", Value: "4a18beb"}, {Key: "vcs.modified", Value: "false"}}
	modified := []debug.BuildSetting{{Key: "vcs.modified", Value: "true"}, {Key: "vcs.revision", Value: "4a18beb"}}
	tests := map[string]struct {
		info *debug.BuildInfo
		want build
	}{
		"nothing known": {nil, build{"unknown", "unknown", "unknown"}},
		"our own program": {
			&debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Path: modulePath, Version: "v1.2.3"}, Settings: revision},
			build{"v1.2.3", "4a18beb", "go1.26.0"},
		},
		"our own program, changed since": {
			&debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Path: modulePath, Version: "(devel)"}, Settings: modified},
			build{"(devel)", "4a18beb-modified", "go1.26.0"},
		},
		"built by xcaddy: the revision is that of another repository": {
			&debug.BuildInfo{
				GoVersion: "go1.26.0", Main: debug.Module{Path: "caddy"}, Settings: revision,
				Deps: []*debug.Module{{Path: "example.org/other", Version: "v9.0.0"}, {Path: modulePath, Version: "v1.2.3"}},
			},
			build{"v1.2.3", "unknown", "go1.26.0"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := buildOf(tc.info); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

// TestStampedBuild holds that what the linker was told comes first: a build from an archive, or of an image, knows no more.
func TestStampedBuild(t *testing.T) {
	known := thisBuild()
	t.Cleanup(func() { stampedVersion, stampedRevision = "", "" })
	stampedVersion = "v1.2.3"
	if got, want := thisBuild(), (build{"v1.2.3", known.revision, known.goVersion}); got != want {
		t.Errorf("with a version: got %+v, want %+v", got, want)
	}
	stampedVersion, stampedRevision = "", "4a18beb"
	if got, want := thisBuild(), (build{known.version, "4a18beb", known.goVersion}); got != want {
		t.Errorf("with a revision: got %+v, want %+v", got, want)
	}
}

func BenchmarkCountRequest(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		CountRequest(reputation.Pass, true, reputation.Fresh)
	}
}

func BenchmarkObserveLookup(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ObserveLookup(reputation.OriginProvider, time.Millisecond)
	}
}
