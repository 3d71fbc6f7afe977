package httpjson_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/httpjson"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/providertest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// recipe returns the settings of a service as the cookbook shows them.
func recipe(tb testing.TB, name string) *httpjson.HTTPJSON {
	tb.Helper()
	return settings(tb, shown(tb, "cookbook.md", name), name)
}

// shown returns the Caddyfile of a page in which a service is configured.
func shown(tb testing.TB, page, name string) string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", page))
	if err != nil {
		tb.Fatal(err)
	}
	for block := range strings.SplitSeq(string(text), "```caddyfile\n") {
		block, _, _ = strings.Cut(block, "\n```")
		if strings.Contains(block, "provider http_json "+name+" {") {
			return block
		}
	}
	tb.Fatalf("%s has no Caddyfile for %s", page, name)
	return ""
}

// ofAllProviders are the options that the module does not read itself.
var ofAllProviders = []string{"key", "quota", "rate", "ttl", "trust"}

// settings returns those of a service in a Caddyfile. That the whole of it can be adapted is tested where all of the
// documentation is.
func settings(tb testing.TB, text, name string) *httpjson.HTTPJSON {
	tb.Helper()
	tokens, err := caddyfile.Tokenize([]byte(text), "Caddyfile")
	if err != nil {
		tb.Fatal(err)
	}
	d := caddyfile.NewDispenser(tokens)
	for d.Next() && d.Val() != name {
	}
	d.Prev()
	own := []caddyfile.Token{d.Token()} // http_json
	for range 2 {                       // the name, and the opening brace
		d.Next()
		own = append(own, d.Token())
	}
	for d.Next() && d.Val() != "}" {
		if line := d.NextSegment(); !slices.Contains(ofAllProviders, line[0].Text) {
			own = append(own, line...)
		}
	}
	h := new(httpjson.HTTPJSON)
	if err := h.UnmarshalCaddyfile(caddyfile.NewDispenser(append(own, d.Token()))); err != nil {
		tb.Fatal(err)
	}
	return h
}

// asking returns the service at another base address. It loads it as Caddy does.
func asking(tb testing.TB, h httpjson.HTTPJSON, base string) *httpjson.HTTPJSON {
	tb.Helper()
	_, rest, _ := strings.Cut(h.URL, "://")
	_, path, _ := strings.Cut(rest, "/")
	h.URL = base + "/" + path
	return load(tb, &h)
}

func load(tb testing.TB, h *httpjson.HTTPJSON) *httpjson.HTTPJSON {
	tb.Helper()
	loaded, err := tryLoad(tb, h)
	if err != nil {
		tb.Fatal(err)
	}
	return loaded
}

func tryLoad(tb testing.TB, h *httpjson.HTTPJSON) (*httpjson.HTTPJSON, error) {
	tb.Helper()
	text, err := json.Marshal(h)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	tb.Cleanup(cancel)
	m, err := ctx.LoadModuleByID("ip_reputation.providers.http_json", text)
	loaded, _ := m.(*httpjson.HTTPJSON)
	return loaded, err
}

// promises runs the suite over the recipe of a service.
func promises(t *testing.T, name string, noKey bool, cases []providertest.Case) {
	t.Helper()
	h := recipe(t, name)
	for i := range cases {
		if cases[i].BodyFile != "" {
			cases[i].BodyFile = filepath.Join("testdata", name, cases[i].BodyFile)
		}
	}
	providertest.Run(t, providertest.Config{
		New:   func(tb testing.TB, base string) reputation.Provider { return asking(tb, *h, base) },
		NoKey: noKey, Cases: cases,
	})
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

func nature(yes, no reputation.Kinds) (n reputation.Nature) {
	for _, k := range reputation.AllKinds() {
		if yes.Has(k) || no.Has(k) {
			n = n.With(k, yes.Has(k))
		}
	}
	return n
}

func TestPulsedive(t *testing.T) {
	promises(t, "pulsedive", false, []providertest.Case{
		{
			Name: "medium, retired", BodyFile: "medium.json",
			Report: reputation.Report{
				Severity: .15, Confidence: .5, Categories: reputation.CategoriesOf(reputation.Abuse, reputation.Malware),
				Facts:    reputation.Facts{Country: "NL"},
				LastSeen: time.Date(2026, 5, 6, 7, 0, 0, 0, time.UTC),
			},
			Request: func(r *http.Request) error {
				if q := r.URL.Query(); q.Get("indicator") != "203.0.113.10" || q.Get("pretty") != "0" || q.Get("key") == "" {
					return errors.New("the query is not the service's")
				}
				return nil
			},
		},
		{
			Name: "high", Body: `{"indicator":"2001:db8::10","risk":"high","retired":0}`, Addr: addr("2001:db8::10"),
			Report: reputation.Report{Severity: .75, Confidence: .5, Categories: reputation.CategoriesOf(reputation.Abuse)},
		},
		{
			Name: "unknown", Body: `{"indicator":"203.0.113.10","risk":"unknown","retired":0}`,
			Report: reputation.Report{Confidence: .2},
		},
		{
			Name: "no risk", BodyFile: "none.json", Addr: addr("198.51.100.8"),
			Report: reputation.Report{Confidence: .5, LastSeen: time.Date(2019, 2, 3, 8, 9, 10, 0, time.UTC)},
		},
		{Name: "not found", Status: 404, BodyFile: "not_found.json", Result: reputation.ResultNotFound},
		{Name: "not found, status 200", BodyFile: "not_found.json", Result: reputation.ResultNotFound},
		{Name: "still processing", BodyFile: "processing.json", Result: reputation.ResultBadAnswer},
		{
			Name: "another word", Body: `{"indicator":"203.0.113.10","risk":"very high"}`,
			Result: reputation.ResultBadAnswer,
		},
		{Name: "about another", Body: `{"indicator":"203.0.113.11","risk":"high"}`, Result: reputation.ResultBadAnswer},
		{Name: "slow down", Status: 429, Body: `{"error":"too many"}`, Result: reputation.ResultThrottled},
		{Name: "key", Status: 403, Body: `{"error":"no"}`, Result: reputation.ResultRefused},
	})
}

func TestIPData(t *testing.T) {
	promises(t, "ipdata", false, []providertest.Case{
		{
			Name: "attacker", BodyFile: "bad.json",
			Report: reputation.Report{
				Severity: .8, Confidence: .6, Categories: reputation.CategoriesOf(reputation.Abuse),
				Facts: reputation.Facts{
					Country: "NL", ASN: 64496,
					Nature: nature(reputation.KindsOf(reputation.NatureTor, reputation.NatureHosting),
						reputation.KindsOf(reputation.NatureProxy, reputation.NatureRelay)),
				},
			},
		},
		{
			Name: "clean", BodyFile: "clean.json", Addr: addr("198.51.100.7"),
			Report: reputation.Report{
				Confidence: .6,
				Facts: reputation.Facts{
					Country: "ID", ASN: 64500,
					Nature: nature(0, reputation.KindsOf(reputation.NatureTor, reputation.NatureHosting,
						reputation.NatureProxy, reputation.NatureRelay)),
				},
			},
		},
		{
			Name: "on eight lists", Body: `{"ip":"203.0.113.10","asn":null,"threat":{"is_known_attacker":false,` +
				`"is_known_abuser":false,"is_bogon":false,"blocklists":[1,2,3,4,5,6,7,8]}}`,
			Report: reputation.Report{Severity: 1, Confidence: .6},
		},
		{Name: "the answer of /threat", BodyFile: "threat_only.json", Result: reputation.ResultBadAnswer},
		{
			Name: "private", Status: 400, Body: `{"message":"192.168.0.1 is a private IP address"}`,
			Result: reputation.ResultError,
		},
		{
			Name: "key", Status: 401, Body: `{"message":"You have not provided a valid API Key."}`,
			Result: reputation.ResultRefused,
		},
		{
			Name: "quota", Status: 403, Result: reputation.ResultThrottled,
			Body: `{"message":"You have either exceeded your quota or that API key does not exist. Get another."}`,
		},
		{Name: "another 403", Status: 403, Body: `{"message":"No."}`, Result: reputation.ResultRefused},
	})
}

func TestIPAPI(t *testing.T) {
	if h := recipe(t, "ip_api"); !h.ClearText || !strings.HasPrefix(h.URL, "http://") {
		t.Error("the recipe is no longer one in clear text")
	}
	promises(t, "ip_api", true, []providertest.Case{
		{
			Name: "a proxy", BodyFile: "hosting_proxy.json",
			Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}, "X-Rl": {"44"}, "X-Ttl": {"60"}},
			Report: reputation.Report{
				Confidence: .5,
				Facts: reputation.Facts{
					Country: "NL", ASN: 64496,
					Nature: nature(reputation.KindsOf(reputation.NatureProxy, reputation.NatureHosting),
						reputation.KindsOf(reputation.NatureMobile)),
				},
			},
		},
		{
			Name: "a home", BodyFile: "residential.json", Addr: addr("2001:db8::10"),
			Report: reputation.Report{
				Confidence: .5,
				Facts: reputation.Facts{
					Country: "NL",
					Nature: nature(reputation.KindsOf(reputation.NatureMobile),
						reputation.KindsOf(reputation.NatureProxy, reputation.NatureHosting)),
				},
			},
		},
		{Name: "private", BodyFile: "fail_private.json", Result: reputation.ResultNotFound},
		{Name: "reserved", BodyFile: "fail_reserved.json", Result: reputation.ResultNotFound},
		{Name: "invalid", BodyFile: "fail_invalid.json", Result: reputation.ResultBadAnswer},
		{
			Name: "pause", Status: 429, Header: http.Header{"X-Ttl": {"37"}, "X-Rl": {"0"}}, Body: "{}",
			Result: reputation.ResultThrottled, RetryAfter: 37 * time.Second,
		},
	})
}
