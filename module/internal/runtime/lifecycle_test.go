package runtime

import (
	"log/slog"
	goruntime "runtime"
	"testing"
	"time"
	"weak"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/memory"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/privacy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/lists"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/sentry"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// listsOf returns the lists of a set that was opened without a configuration.
func listsOf(set *feed.Set) lists.Lists { return lists.Lists{Set: lists.NewSet(set)} }

// bare returns a configuration without anything in it.
func bare(tb testing.TB) *Runtime {
	tb.Helper()
	set, err := feed.Open(nil, feed.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = set.Close() })
	return &Runtime{Lists: listsOf(set), Logger: slog.New(slog.DiscardHandler)}
}

// TestReplacedConfigurationsAreFreed proves that nothing refers to a configuration that was replaced, or refused: it may hold
// lists and a memory of many megabytes.
func TestReplacedConfigurationsAreFreed(t *testing.T) {
	serving := bare(t)
	replaced, refused := func() (weak.Pointer[Runtime], weak.Pointer[Runtime]) {
		before, wrong := bare(t), bare(t)
		before.attach()
		serving.attach()
		before.detach()
		wrong.SetPrivacy(nil)
		for _, rt := range []*Runtime{before, wrong} {
			if err := rt.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return weak.Make(before), weak.Make(wrong)
	}()
	defer serving.detach()
	for range 3 {
		goruntime.GC()
	}
	if replaced.Value() != nil {
		t.Error("the configuration that was replaced is still referred to")
	}
	if refused.Value() != nil {
		t.Error("the configuration that was refused is still referred to")
	}
}

// TestAddressesAreWrittenAsTheLastConfigurationSays proves that privacy holds while nothing serves: before the first start,
// and after the last stop, when what was shared ends.
func TestAddressesAreWrittenAsTheLastConfigurationSays(t *testing.T) {
	first, err := privacy.Truncate(24, 48)
	if err != nil {
		t.Fatal(err)
	}
	second, err := privacy.Truncate(16, 32)
	if err != nil {
		t.Fatal(err)
	}
	a, b, refused := bare(t), bare(t), bare(t)
	closed := func(rt *Runtime) func() {
		return func() {
			if err := rt.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	for _, step := range []struct {
		name string
		do   func()
		want *privacy.Policy
	}{
		{"it is loaded", func() { a.SetPrivacy(first) }, first},
		{"it serves", a.attach, first},
		{"another is loaded", func() { b.SetPrivacy(second) }, first},
		{"the other serves", b.attach, second},
		{"the one before has stopped", a.detach, second},
		{"the one before has ended", closed(a), second},
		{"a third is loaded", func() { refused.SetPrivacy(nil) }, second},
		{"the third is refused", closed(refused), second},
		{"all have stopped", b.detach, second},
		{"all have ended", closed(b), second},
	} {
		step.do()
		if got := CurrentPrivacy(); got != step.want {
			t.Errorf("%s: addresses are written as %p says, want %p", step.name, got, step.want)
		}
	}
}

// TestErrorsOfAConfigurationThatIsLoadedAreReported proves that a configuration reports from its loading on where the one that
// serves reports to nobody, and that one which reports is not replaced before it has stopped serving.
func TestErrorsOfAConfigurationThatIsLoadedAreReported(t *testing.T) {
	reporter := func() *Reporter {
		r := &Reporter{sentry.Open(sentry.Options{DSN: func() (string, bool) { return "", false }})}
		t.Cleanup(func() { r.Close(t.Context()) })
		return r
	}
	silent, first, second := bare(t), bare(t), bare(t)
	one, two := reporter(), reporter()
	load := func(rt *Runtime, r *Reporter) func() {
		return func() {
			rt.SetPrivacy(nil)
			rt.SetReporter(r)
		}
	}
	for _, step := range []struct {
		name string
		do   func()
		want *sentry.Reporter
	}{
		{"one without serves", silent.attach, nil},
		{"one with is loaded", load(first, one), one.Reporter},
		{"it is refused", func() { _ = first.Close() }, nil},
		{"it is loaded again", load(first, one), one.Reporter},
		{"it serves", func() { first.attach(); silent.detach() }, one.Reporter},
		{"another is loaded", load(second, two), one.Reporter},
		{"the other serves", func() { second.attach(); first.detach() }, two.Reporter},
		{"it has stopped", second.detach, two.Reporter},
		{"it has ended", func() { _ = second.Close() }, nil},
	} {
		step.do()
		if got := currentReporter(); got != step.want {
			t.Errorf("%s: errors go to %p, want %p", step.name, got, step.want)
		}
	}
}

// TestTheMemoryOfTheLastConfigurationIsSaved proves that of several tables that end, whatever their order, the file has that of
// the configuration that served last, with what the others knew.
func TestTheMemoryOfTheLastConfigurationIsSaved(t *testing.T) {
	path := t.TempDir() + "/memory.bin"
	with := func(size int, keys ...record.Key) *Runtime {
		rt := bare(t)
		rt.Memory = newMemory(memory.New(size, 1), path)
		rt.Providers = []Provider{{Name: "a"}}
		for _, key := range keys {
			now := time.Now()
			rt.Memory.Update(key, func(r *record.Record) {
				r.Set(record.Pack(record.IDOf("a"), reputation.Report{Severity: 1, Confidence: 1}, now, now.Add(time.Hour)))
			})
		}
		rt.Memory.Attach()
		rt.Leases.Add(rt.Memory.close)
		return rt
	}
	start := func(rt *Runtime) {
		rt.Memory.start(rt)
		rt.attach()
	}
	saved := func() int {
		table := memory.New(1000, 1)
		bare(t).loadMemory(newMemory(table, path))
		return table.Len()
	}
	first, second, checked := with(1000, 1), with(2000, 2), with(3000)
	start(first)
	start(second)
	first.detach()
	first.Memory.Update(3, func(r *record.Record) {
		r.Set(record.Pack(1, reputation.Report{}, time.Now(), time.Now().Add(time.Hour)))
	})
	if err := checked.Close(); err != nil {
		t.Error(err)
	}
	if n := saved(); n != 0 {
		t.Errorf("%d subjects are saved by a configuration that was only checked", n)
	}
	second.detach()
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if n := saved(); n != 2 {
		t.Errorf("%d subjects are saved, want what both knew when the second began to serve", n)
	}
	if err := first.Close(); err != nil { // which was busy
		t.Error(err)
	}
	if n := saved(); n != 2 {
		t.Errorf("%d subjects are left in the file: the table that was replaced has overwritten that of the last one", n)
	}
}
