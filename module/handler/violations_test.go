package handler

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
)

// violationContext is testContext with violations of its own, remembered in a folder of its own.
func violationContext(tb testing.TB) caddy.Context {
	tb.Helper()
	if t, ok := tb.(*testing.T); ok {
		t.Setenv("XDG_DATA_HOME", t.TempDir())
	}
	app := `{
		"deny": ["` + deniedAddr + `"], "exempt": ["` + exemptAddr + `"],
		"violations": [
			{"name": "rude", "points": 5, "half_life": 3600000000000},
			{"name": "mistake", "points": 4, "half_life": 3600000000000, "free": 1}
		]
	}`
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin: &caddy.AdminConfig{Disabled: true}, AppsRaw: caddy.ModuleMap{"ip_reputation": []byte(app)},
	})
	if err != nil {
		tb.Fatal(err)
	}
	loaded, err := ctx.App("ip_reputation")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = loaded.(*module.App).Cleanup() })
	return ctx
}

// watching is a site whose violations are looked at.
type watching struct {
	*Handler
	clients int
}

func newWatching(tb testing.TB, site object) *watching {
	tb.Helper()
	site["log"] = object{"decisions": "none"}
	return &watching{Handler: loadHandler(tb, violationContext(tb), site)}
}

// newClient returns an address that nothing is known of.
func (w *watching) newClient() string {
	w.clients++
	return fmt.Sprintf("192.0.2.%d", w.clients)
}

// points returns what is held against an address, by violation, whole points.
func (w *watching) points(addr string) map[string]int {
	found := map[string]int{}
	var s violation.Subject
	if !w.runtime.Conduct.Store().Find(netip.MustParseAddr(addr), &s) {
		return found
	}
	for _, name := range w.runtime.Conduct.ViolationNames() {
		if slot := s.Find(violation.IDOf(name)); slot != nil {
			found[name] = int(float64(slot.Points)/1000 + .5)
		}
	}
	return found
}

// ask sends a request from addr, which change may change, to a site in front of an application.
func (w *watching) ask(tb testing.TB, addr, path string, app caddyhttp.HandlerFunc, change ...func(*http.Request)) (*httptest.ResponseRecorder, error) {
	tb.Helper()
	r := prepared(tb, addr, path)()
	for _, c := range change {
		if c != nil {
			c(r)
		}
	}
	rec := httptest.NewRecorder()
	err := w.ServeHTTP(rec, r, app)
	return rec, err
}

// answersWith is an application that answers with a status, and names violations.
func answersWith(status int, named ...string) caddyhttp.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) error {
		for _, name := range named {
			w.Header().Add("X-IP-Reputation-Violation", name)
		}
		w.WriteHeader(status)
		return nil
	}
}

func fails(status int) caddyhttp.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) error { return caddyhttp.Error(status, nil) }
}

func with(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// TestViolationIsSeen holds which requests and responses are violations.
func TestViolationIsSeen(t *testing.T) {
	for name, tc := range map[string]struct {
		rule   object
		path   string
		app    caddyhttp.HandlerFunc
		change func(*http.Request)
		want   bool
	}{
		"path":               {rule: object{"path": []string{"/.env"}}, path: "/.env", want: true},
		"path in upper case": {rule: object{"path": []string{"/.ENV"}}, path: "/.eNv", want: true},
		"path not clean":     {rule: object{"path": []string{"/.env"}}, path: "//x/../.env", want: true},
		"another path":       {rule: object{"path": []string{"/.env"}}, path: "/.envoy"},
		"prefix":             {rule: object{"path": []string{"/.git/*"}}, path: "/.git/config", want: true},
		"suffix":             {rule: object{"path": []string{"*.sql"}}, path: "/a/b.sql", want: true},
		"part":               {rule: object{"path": []string{"*/cgi-bin/*"}}, path: "/a/cgi-bin/b", want: true},
		"excluded":           {rule: object{"path": []string{"/a*"}, "not_path": []string{"*.map"}}, path: "/a.map"},
		"method":             {rule: object{"method": []string{"TRACE", "GET"}}, path: "/", want: true},
		"another method":     {rule: object{"method": []string{"TRACE"}}, path: "/"},
		"matcher":            {rule: object{"match": []any{object{"path": []string{"/m"}, "header": object{"Accept": []string{"text/html"}}}}}, path: "/m", want: true},
		"matcher holds not":  {rule: object{"match": []any{object{"path": []string{"/m"}, "method": []string{"PUT"}}}}, path: "/m"},
		"status":             {rule: object{"status": []string{"403", "401"}}, path: "/", app: answersWith(401), want: true},
		"status class":       {rule: object{"status": []string{"4xx"}}, path: "/", app: answersWith(418), want: true},
		"nobody waited":      {rule: object{"status": []string{"4xx"}}, path: "/", app: fails(499)},
		"nobody waited, so":  {rule: object{"status": []string{"499"}}, path: "/", app: answersWith(499), want: true},
		"another status":     {rule: object{"status": []string{"4xx"}}, path: "/", app: answersWith(500)},
		"status of an error": {rule: object{"status": []string{"404"}}, path: "/", app: fails(404), want: true},
		"status of no error": {rule: object{"status": []string{"500"}}, path: "/", app: func(http.ResponseWriter, *http.Request) error { return http.ErrBodyNotAllowed }, want: true},
		"status after 103":   {rule: object{"status": []string{"404"}}, path: "/", app: afterHints(404), want: true},
		"a status that is first": {rule: object{"status": []string{"404"}}, path: "/", app: func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(200)
			return caddyhttp.Error(404, nil)
		}},
		"implicit by writing": {rule: object{"status": []string{"200"}}, path: "/", app: func(w http.ResponseWriter, _ *http.Request) error { _, err := w.Write([]byte("a")); return err }, want: true},
		"implicit by nothing": {rule: object{"status": []string{"200"}}, path: "/", app: passOn, want: true},
		"implicit by a flush": {rule: object{"status": []string{"200"}}, path: "/", app: func(w http.ResponseWriter, _ *http.Request) error { return http.NewResponseController(w).Flush() }, want: true},
		"header":              {rule: object{"header": object{"X-Login": []string{"fail*"}}}, path: "/", app: withHeader("X-Login", "failed"), want: true},
		"another header":      {rule: object{"header": object{"X-Login": []string{"fail*"}}}, path: "/", app: withHeader("X-Login", "ok")},
		"changed on the way": {rule: object{"path": []string{"/old"}, "status": []string{"404"}}, path: "/old", app: func(w http.ResponseWriter, r *http.Request) error {
			r.URL.Path = "/new"
			w.WriteHeader(404)
			return nil
		}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			tc.rule["name"] = "rude"
			w := newWatching(t, object{"mode": "enforce", "violations": []any{tc.rule}})
			if tc.app == nil {
				tc.app = answersWith(204)
			}
			addr := w.newClient()
			_, _ = w.ask(t, addr, tc.path, tc.app)
			if got := w.points(addr)["rude"] > 0; got != tc.want {
				t.Errorf("counted: %v", got)
			}
		})
	}
}

func afterHints(status int) caddyhttp.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("X-IP-Reputation-Violation", "rude")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("X-IP-Reputation-Violation", "rude")
		w.WriteHeader(status)
		return nil
	}
}

func withHeader(name, value string) caddyhttp.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set(name, value)
		w.WriteHeader(204)
		return nil
	}
}

// TestViolationsOfOneRequest holds that a name counts once a request, and which rules count each path once. To one store
// in forty, two of the paths look the same. Each has a seed of its own, so another one is asked then.
func TestViolationsOfOneRequest(t *testing.T) {
	want := map[string]int{
		"rude": 15, "mistake": 8, // /a, /b, /login; three, one of them free
		"missing": 4, // two pages, one of them free
	}
	var got map[string]int
	for range 6 {
		if got = pointsOfPaths(t); cmp.Equal(want, got) {
			return
		}
	}
	t.Errorf("(-want +got):\n%s", cmp.Diff(want, got))
}

// pointsOfPaths returns what requests for several paths, some of them again, cost two clients.
func pointsOfPaths(t *testing.T) map[string]int {
	t.Helper()
	w := newWatching(t, object{"violations": []any{
		object{"name": "rude", "status": []string{"404"}},
		object{"name": "rude", "status": []string{"4xx"}},
		object{"name": "mistake", "path": []string{"/login"}, "status": []string{"401"}},
		object{"name": "mistake", "path": []string{"/shop/*"}, "status": []string{"404", "410"}},
	}})
	addr, reader := w.newClient(), w.newClient()
	for _, path := range []string{"/a", "/a", "/b"} {
		_, _ = w.ask(t, addr, path, answersWith(404))
	}
	for range 3 {
		_, _ = w.ask(t, addr, "/login", answersWith(401))
	}
	for _, path := range []string{"//a", "/./a", "/x/../b"} { // in other spellings
		_, _ = w.ask(t, addr, path, answersWith(404))
	}
	for range 5 {
		_, _ = w.ask(t, reader, "/shop/image", answersWith(404))
	}
	_, _ = w.ask(t, reader, "/shop/other", answersWith(410))
	points := w.points(addr)
	points["missing"] = w.points(reader)["mistake"]
	return points
}

// ignoredBy returns how many violations were ignored for a reason.
func ignoredBy(tb testing.TB, why string) (count int) {
	tb.Helper()
	return countedBy(tb, "violations_ignored_total", why)
}

// countedBy returns what a counter with one label has counted.
func countedBy(tb testing.TB, counter, label string) (count int) {
	tb.Helper()
	reg := prometheus.NewRegistry()
	if err := metrics.Register(reg); err != nil {
		tb.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if strings.HasSuffix(family.GetName(), "_"+counter) && m.GetLabel()[0].GetValue() == label {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

// TestTrapActsAtOnce holds that the request that touches a trap is judged with the points, and only said where the site
// observes.
func TestTrapActsAtOnce(t *testing.T) {
	for mode, want := range map[string]int{"enforce": 403, "observe": 204} {
		w := newWatching(t, object{
			"mode": mode, "violations": []any{object{"name": "trap", "path": []string{"/.env"}}},
			"rules": []any{object{"action": "block", "score": "95"}},
		})
		addr := w.newClient()
		if got, err := w.ask(t, addr, "/", answersWith(204)); got.Code != 204 || err != nil {
			t.Errorf("%s: before, got %d, %v", mode, got.Code, err)
		}
		for range 2 {
			if got, err := w.ask(t, addr, "/.env", answersWith(204)); got.Code != want || err != nil {
				t.Errorf("%s: got %d, %v; want %d", mode, got.Code, err, want)
			}
		}
		if got, _ := w.ask(t, addr, "/", answersWith(204)); got.Code != want {
			t.Errorf("%s: after, got %d; want %d", mode, got.Code, want)
		}
	}
}

// TestGoodStanding holds that mistakes of visitors who are signed in, or whose requests are nearly all good, cost a
// quarter, and that traps cost the same.
func TestGoodStanding(t *testing.T) {
	site := object{
		"violations": []any{
			object{"name": "mistake", "path": []string{"/login"}, "status": []string{"401"}},
			object{"name": "rude", "path": []string{"/.env"}},
		},
		"signed_in": object{"cookie": []string{"session"}, "header": []string{"Authorization"}},
	}
	good := func(w *watching, addr string) {
		for range 40 {
			_, _ = w.ask(t, addr, "/", answersWith(200))
		}
	}
	for name, tc := range map[string]struct {
		change func(*http.Request)
		good   bool
		want   map[string]int
	}{
		"a stranger":      {nil, false, map[string]int{"mistake": 8, "rude": 5}},
		"a cookie":        {with("Cookie", "session=abc"), false, map[string]int{"mistake": 2, "rude": 5}},
		"an empty cookie": {with("Cookie", "session="), false, map[string]int{"mistake": 8, "rude": 5}},
		"another cookie":  {with("Cookie", "sessions=abc"), false, map[string]int{"mistake": 8, "rude": 5}},
		"a header":        {with("Authorization", "Bearer abc"), false, map[string]int{"mistake": 2, "rude": 5}},
		"many good ones":  {nil, true, map[string]int{"mistake": 2, "rude": 5}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWatching(t, site)
			addr := w.newClient()
			for i := range 3 {
				_, _ = w.ask(t, addr, "/login", answersWith(401), tc.change)
				if i == 0 && tc.good {
					good(w, addr)
				}
			}
			_, _ = w.ask(t, addr, "/.env", answersWith(404), tc.change)
			if diff := cmp.Diff(tc.want, w.points(addr)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
