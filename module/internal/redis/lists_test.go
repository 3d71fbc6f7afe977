package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// sharing makes a Client the store of lists, as runtime does.
type sharing struct{ *Client }

func (s sharing) Await(context.Context) {}

var _ feed.Shared = sharing{}

// TestOneFetchForAllInstances proves on a real Redis that of many instances one fetches a list, that the others have it in
// force, and that Redis holds neither the URL nor a key.
func TestOneFetchForAllInstances(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	var fetches atomic.Int64
	var list strings.Builder
	for i := range 65536 {
		fmt.Fprintf(&list, "198.18.%d.%d\n203.0.%d.%d\n", i/256, i*7%256, i*13%256, i%251)
	}
	publisher := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetches.Add(1)
		if r.Header.Get("Authorization") != "Bearer hunter2" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, list.String())
	}))
	t.Cleanup(publisher.Close)
	const instances = 8
	spec := feed.Spec{
		Name: "partner", URLs: []string{publisher.URL + "/secret-path?key=hunter2"},
		Header: http.Header{"Authorization": {"Bearer hunter2"}},
	}
	var sets []*feed.Set
	for range instances {
		set, err := feed.Open([]feed.Spec{spec}, feed.Options{Dir: t.TempDir(), Shared: sharing{connect(t, server.Addr)}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := set.Close(); err != nil {
				t.Error(err)
			}
		})
		sets = append(sets, set)
	}
	for _, set := range sets {
		set.Start()
	}
	for i, set := range sets {
		eventually(t, fmt.Sprintf("instance %d has the list", i), func() bool {
			s := set.Status()[0]
			return s.Loaded && s.Lines == 2*65536 && s.Stored
		})
	}
	if n := fetches.Load(); n != 1 {
		t.Errorf("the publisher was asked %d times, want 1", n)
	}
	if keys := server.CLI("KEYS", "*"); strings.Contains(keys, "secret") || strings.Contains(keys, "lease") {
		t.Errorf("keys in redis:\n%s", keys)
	}
	for key := range strings.FieldsSeq(server.CLI("KEYS", "*{list:*")) {
		if ttl := server.CLI("PTTL", key); strings.HasPrefix(ttl, "-") {
			t.Errorf("%s never ends", key)
		}
		if server.CLI("TYPE", key) == "hash" {
			if text := server.CLI("HGETALL", key); strings.Contains(text, "hunter2") || strings.Contains(text, "secret") {
				t.Errorf("%s: %s", key, text)
			}
		}
	}
}

// TestSharedList proves what a claim answers, step by step.
func TestSharedList(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	one, two := connect(t, server.Addr), connect(t, server.Addr)
	ctx := t.Context()
	claim := func(c *Client, holder string, young time.Duration) feed.SharedClaim {
		t.Helper()
		got, err := c.ClaimList(ctx, "list", holder, young, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	store := func(version, before string, text []byte) {
		t.Helper()
		if err := one.StoreList(ctx, "list", "a", version, before, text, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	load := func(version string) ([]byte, error) { return two.LoadList(ctx, "list", version) }

	if got := claim(one, "a", time.Hour); got != (feed.SharedClaim{Mine: true}) {
		t.Errorf("the first claim: %+v", got)
	}
	if got := claim(two, "b", time.Hour); got != (feed.SharedClaim{}) {
		t.Errorf("the second claim: %+v", got)
	}
	if got := claim(one, "a", time.Hour); !got.Mine {
		t.Errorf("the first again: %+v", got)
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), feed.MaxShared/16)
	store("a1", "", large)
	if got := claim(two, "b", time.Hour); got.Version != "a1" || got.Mine || got.Age < 0 || got.Age > 30*time.Second {
		t.Errorf("with a new copy: %+v", got)
	}
	if text, err := load("a1"); err != nil || !bytes.Equal(text, large) {
		t.Errorf("loaded %d bytes, %v", len(text), err)
	}
	if got := claim(two, "b", 0); got.Version != "a1" || !got.Mine {
		t.Errorf("with a copy that is too old: %+v", got)
	}
	if err := two.ReleaseList(ctx, "list", "b", time.Hour); err != nil {
		t.Fatal(err)
	}
	if got := claim(one, "a", 0); got.Mine || got.Pause < 50*time.Minute || got.Pause > time.Hour {
		t.Errorf("in a pause: %+v", got)
	}
	server.CLI("DEL", "iprep:v1:{list:list}:lease")
	store("a1", "a1", nil)
	store("b2", "a1", []byte("smaller"))
	if text, err := load("b2"); err != nil || string(text) != "smaller" {
		t.Errorf("loaded %q, %v", text, err)
	}
	if _, err := load("a1"); err == nil {
		t.Error("the version before is still there")
	}
	server.CLI("DEL", "iprep:v1:{list:list}:b2") // evicted
	if err := one.StoreList(ctx, "list", "a", "b2", "b2", nil, time.Hour); !errors.Is(err, errListGone) {
		t.Errorf("a copy without a text was confirmed: %v", err)
	}
	if got := claim(two, "b", time.Hour); got.Version != "" || !got.Mine {
		t.Errorf("a copy without a text is described: %+v", got)
	}
}

// TestStrangeSharedList proves that what other programs and broken clocks leave in Redis is not believed.
func TestStrangeSharedList(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	c := connect(t, server.Addr)
	const key = "iprep:v1:{list:list}"
	for name, fields := range map[string][]string{
		"from the future":   {"version", "a1", "confirmed", "99999999999999"},
		"without a time":    {"version", "a1"},
		"time of letters":   {"version", "a1", "confirmed", "soon"},
		"at no time":        {"version", "a1", "confirmed", "nan"},
		"before all times":  {"version", "a1", "confirmed", "-9.2e18"},
		"a foreign version": {"version", "x}:lease", "confirmed", "1"},
	} {
		server.CLI(append([]string{"HSET", key}, fields...)...)
		got, err := c.ClaimList(t.Context(), "list", name, time.Hour, time.Minute)
		if err != nil || got != (feed.SharedClaim{Mine: true}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		server.CLI("DEL", key, key+":lease")
	}
	for _, holder := range []string{"letters", "failed"} {
		server.CLI("SET", key+":lease", holder) // without an end
		if got, err := c.ClaimList(t.Context(), "list", "a", time.Hour, time.Minute); err != nil || !got.Mine {
			t.Errorf("with a lease of %q: %+v, %v", holder, got, err)
		}
		if left := server.CLI("PTTL", key+":lease"); left == "-1" {
			t.Errorf("the lease of %q stays for ever", holder)
		}
	}
	server.CLI("SETRANGE", key+":a1", fmt.Sprint(feed.MaxShared), "x")
	if text, err := c.LoadList(t.Context(), "list", "a1"); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a text of %d bytes was loaded: %v", len(text), err)
	}
	away := open(t, Options{Addresses: []string{testenv.FreeAddr(t)}})
	if _, err := away.ClaimList(t.Context(), "list", "a", time.Hour, time.Minute); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without redis: %v", err)
	}
}

// sharesLists makes every exchange about a list that there is.
func sharesLists(tb testing.TB, c *Client) {
	tb.Helper()
	const list = "list"
	ctx := tb.Context()
	claim, err := c.ClaimList(ctx, list, "a", 0, time.Minute)
	if err != nil || !claim.Mine {
		tb.Errorf("claiming a list: %+v, %v", claim, err)
	}
	before := ""
	for version, text := range map[string][]byte{"a1": []byte("one"), "b2": bytes.Repeat([]byte("two"), listPiece)} {
		if err := c.StoreList(ctx, list, "a", version, before, text, time.Hour); err != nil {
			tb.Errorf("storing a list: %v", err)
		}
		if got, err := c.LoadList(ctx, list, version); err != nil || !bytes.Equal(got, text) {
			tb.Errorf("loading a list: %d bytes, %v", len(got), err)
		}
		before = version
	}
	if err := c.ReleaseList(ctx, list, "a", 0); err != nil {
		tb.Errorf("releasing a list: %v", err)
	}
}
