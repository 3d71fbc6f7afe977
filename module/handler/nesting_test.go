package handler

import (
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history/recorder"
)

// node is a part of a handler chain: a handler, or a group of nodes behind a matcher.
type node struct {
	Handler *Handler
	Matcher string // a condition; empty: none
	Nodes   []node
}

// The rules and conditions of generated chains, with the clients for whom they hold.
var (
	testRules = map[string][]string{
		"block score 85":                {deniedAddr},
		"block source deny":             {deniedAddr},
		"drop score 100":                {deniedAddr},
		"pass source deny":              {deniedAddr},
		"block category scanner":        {listedAddr},
		"pass category scanner":         {listedAddr},
		"limit 100000/1s score 0-50":    {cleanAddr, listedAddr},
		"block country SE":              nil,
		"limit 1/1h category botnet_c2": nil,
	}
	testConditions = map[string][]string{
		"score 85":         {deniedAddr},
		"category scanner": {listedAddr},
		"status exempt":    {exemptAddr},
		"status fresh":     {cleanAddr, listedAddr, deniedAddr},
	}
)

func parseRule(tb fataler, text string) Rule {
	words := strings.Fields(text)
	rule := Rule{Action: words[0]}
	words = words[1:]
	if rule.Action == "limit" {
		rule.Limit, words = words[0], words[1:]
	}
	if err := rule.Add(words[0], words[1]); err != nil {
		tb.Fatal(err)
	}
	return rule
}

func drawNodes(t *rapid.T, depth int) []node {
	nodes := make([]node, rapid.IntRange(1, 3).Draw(t, "nodes"))
	for i := range nodes {
		if depth > 0 && rapid.Bool().Draw(t, "group") {
			nodes[i].Nodes = drawNodes(t, depth-1)
			if rapid.Bool().Draw(t, "matched") {
				nodes[i].Matcher = rapid.SampledFrom(slices.Sorted(maps.Keys(testConditions))).Draw(t, "condition")
			}
			continue
		}
		h := &Handler{
			Mode:    rapid.SampledFrom([]string{"observe", "enforce"}).Draw(t, "mode"),
			Headers: rapid.SampledFrom([]string{"full", "minimal"}).Draw(t, "headers"),
		}
		if rapid.Bool().Draw(t, "exempts") {
			h.Exempt = []string{listedAddr}
		}
		for _, text := range rapid.SliceOfNDistinct(rapid.SampledFrom(slices.Sorted(maps.Keys(testRules))), 0, 3, rapid.ID).Draw(t, "rules") {
			h.Rules = append(h.Rules, parseRule(t, text))
		}
		nodes[i].Handler = h
	}
	return nodes
}

// routes returns the nodes as the routes of a subroute.
func routes(nodes []node) (list []any) {
	for _, n := range nodes {
		route := object{}
		if n.Handler != nil {
			raw, _ := json.Marshal(n.Handler)
			handler := object{}
			_ = json.Unmarshal(raw, &handler)
			handler["handler"] = "ip_reputation"
			route["handle"] = []any{handler}
		} else {
			route["handle"] = []any{object{"handler": "subroute", "routes": routes(n.Nodes)}}
		}
		if word, value, ok := strings.Cut(n.Matcher, " "); ok {
			var values any = []string{value}
			if word == "score" {
				values = value
			}
			route["match"] = []any{object{"ip_reputation": object{word: values}}}
		}
		list = append(list, route)
	}
	return list
}

// made is one decision.
type made struct{ Rule, Action, Mode string }

// model predicts the decisions about a client, up to the one that ends the request.
type model struct {
	client  string
	exempt  bool // by the last handler's own list
	made    []made
	refused bool
}

func (m *model) holds(clients []string) bool {
	if m.exempt {
		return false
	}
	return slices.Contains(clients, m.client)
}

func (m *model) walk(nodes []node) {
	for _, n := range nodes {
		switch {
		case m.refused:
			return
		case n.Handler != nil:
			m.decide(n.Handler)
		case n.Matcher == "" || m.holds(testConditions[n.Matcher]) || n.Matcher == "status exempt" && m.exempt:
			m.walk(n.Nodes)
		}
	}
}

func (m *model) decide(h *Handler) {
	m.exempt = len(h.Exempt) > 0 && m.client == listedAddr
	d := made{Action: "pass", Mode: h.Mode}
	if m.client == deniedAddr {
		d.Rule, d.Action = "deny", "block"
	}
	for i := range h.Rules {
		if text := h.Rules[i].text(); m.holds(testRules[text]) {
			d.Rule, d.Action = text, h.Rules[i].Action
			if d.Action == "limit" {
				d.Action = "pass"
			}
			break
		}
	}
	m.made = append(m.made, d)
	m.refused = h.Mode == "enforce" && d.Action != "pass"
}

// each calls f with every handler in a chain.
func each(routes caddyhttp.RouteList, f func(*Handler)) {
	for i := range routes {
		for _, handler := range routes[i].Handlers {
			switch handler := handler.(type) {
			case *Handler:
				f(handler)
			case *caddyhttp.Subroute:
				each(handler.Routes, f)
			}
		}
	}
}

// TestAnyNesting proves that each of any handlers on the way of a request decides by its own rules, and that headers,
// log and history say what it decided.
func TestAnyNesting(t *testing.T) {
	ctx := testContext(t)
	request := map[string]func() *http.Request{}
	for _, client := range []string{cleanAddr, listedAddr, deniedAddr, exemptAddr} {
		request[client] = prepared(t, client)
	}
	rapid.Check(t, func(t *rapid.T) {
		nodes := drawNodes(t, 3)
		chain := loadModule(t, ctx, "http.handlers.subroute", object{"routes": routes(nodes)}).(*caddyhttp.Subroute)
		store := new(captured)
		r := recorder.Open(recorder.Options{Logger: slog.New(slog.DiscardHandler)})
		r.Use(recorder.Settings{Store: store})
		r.Start()
		core, logged := observer.New(zapcore.InfoLevel)
		each(chain.Routes, func(h *Handler) {
			h.history = &recording{recorder: r}
			h.decisions = decisionLogTo(t, core)
		})

		client := rapid.SampledFrom(slices.Sorted(maps.Keys(request))).Draw(t, "client")
		want := model{client: client}
		want.walk(nodes)
		got := serve(chain, request[client]())
		if got.err != nil {
			t.Fatal(got.err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}

		wantMade, wantLogged := map[made]int64{}, []string{}
		for _, d := range want.made {
			wantMade[d]++
			wantLogged = append(wantLogged, d.Action+" "+d.Mode)
		}
		gotLogged := []string{}
		for _, e := range logged.All() {
			said := e.ContextMap()["ip_reputation"].(map[string]any)
			gotLogged = append(gotLogged, said["action"].(string)+" "+said["mode"].(string))
		}
		if diff := cmp.Diff(wantLogged, gotLogged); diff != "" {
			t.Errorf("logged (-want +got):\n%s", diff)
		}
		if client == cleanAddr || client == deniedAddr { // others are exempt from some handlers, which the history leaves out
			if diff := cmp.Diff(wantMade, store.made()); diff != "" {
				t.Errorf("recorded (-want +got):\n%s", diff)
			}
		}
		checkAnswer(t, got, want)
	})
}

// checkAnswer compares what the visitor and the application got with the decisions.
func checkAnswer(t *rapid.T, got answer, want model) {
	if len(want.made) == 0 {
		return
	}
	last := want.made[len(want.made)-1]
	switch {
	case want.refused && last.Action == "drop":
		if !got.dropped {
			t.Errorf("got %d, want a drop", got.Code)
		}
	case want.refused:
		if got.app != nil || got.Code != http.StatusForbidden || got.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("got %d, %v; want a refusal", got.Code, got.Header())
		}
	default:
		action := last.Action
		if last.Mode == "observe" {
			action += ";mode=observe"
		}
		id := got.Header()[headerRequestID]
		if got.Code != http.StatusNoContent || got.app.Get(headerAction) != action || len(id) != 1 || got.app.Get(headerRequestID) != id[0] {
			t.Errorf("got %d, %v; the application read %v; want %s", got.Code, got.Header(), got.app, action)
		}
	}
}
