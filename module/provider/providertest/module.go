package providertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// namespace is that of the modules of providers.
const namespace = "ip_reputation.providers."

// Module returns a Config.New that loads a module, such as "acme", with other settings besides the url: see Load.
func Module(name string, settings ...string) func(tb testing.TB, baseURL string) reputation.Provider {
	return func(tb testing.TB, baseURL string) reputation.Provider {
		tb.Helper()
		return Load(tb, name, baseURL, settings...)
	}
}

// Load returns a provider as Caddy makes it: from the name of its module and the JSON of its settings, such as
// `{"api": "v3"}`. An empty url is left out. The provider is closed at the end of the test.
func Load(tb testing.TB, name, baseURL string, settings ...string) reputation.Provider {
	tb.Helper()
	all := make(map[string]any)
	for _, text := range settings {
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			tb.Fatal(err)
		}
	}
	if baseURL != "" {
		all["url"] = baseURL
	}
	text, err := json.Marshal(all)
	if err != nil {
		tb.Fatal(err)
	}
	p, err := load(tb, name, text)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func load(tb testing.TB, name string, settings []byte) (reputation.Provider, error) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	tb.Cleanup(cancel) // runs Cleanup
	module, err := ctx.LoadModuleByID(namespace+name, settings)
	if err != nil {
		return nil, err //nolint:wrapcheck // it is what a test is about
	}
	p, ok := module.(reputation.Provider)
	if !ok {
		return nil, fmt.Errorf("%s is a %T, which is no provider", name, module)
	}
	return p, nil
}

// Settings loads a module with each of the given settings, in JSON. The value is "" for those that it takes, and else a
// part of the error.
func Settings(t *testing.T, name string, settings map[string]string) {
	t.Helper()
	for config, want := range settings {
		_, err := load(t, name, []byte(config))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: the error is %v, want %q in it", config, err, want)
		}
	}
}

// Caddyfile reads blocks such as "acme {\n url https://gateway.example.org\n}". The value is the JSON of the settings
// that come of it, which begins with "{", or a part of the error.
//
// Besides, it tries what is wrong in the block of any provider: an argument, an unknown option, and a url that is
// missing, doubled, empty, or of another scheme. The error must name what is wrong, and its line.
func Caddyfile(t *testing.T, name string, blocks map[string]string) {
	t.Helper()
	for block, want := range blocks {
		if err := checkBlock(name, block, want); err != nil {
			t.Error(err)
		}
	}
	for _, err := range checkUsual(name) {
		t.Error(err)
	}
}

// checkUsual returns what is wrong with how a module reads the blocks that are right or wrong for any provider.
func checkUsual(name string) (faults []error) {
	const gateway = "https://gateway.example.org/v1"
	block := func(lines ...string) string { return name + " {\n" + strings.Join(lines, "\n") + "\n}" }
	for _, tc := range []struct{ block, want, line string }{
		{block("url " + gateway), `{"url":"` + gateway + `"}`, ""},
		{block("url {env.API_URL}"), `{"url":"{env.API_URL}"}`, ""},
		{name + " " + gateway, name, "Testfile:1"},
		{block("url "+gateway, "unheard_of 1"), "unheard_of", "Testfile:3"},
		{block("url "+gateway, "url "+gateway), "url", "Testfile:3"},
		{block("url " + gateway + " {\n a b\n }"), "block", "Testfile:2"},
		{block("url"), "url", "Testfile:2"},
		{block(`url ""`), "url", "Testfile:2"},
		{block("url " + gateway + " " + gateway), "url", "Testfile:2"},
		{block("url ftp://gateway.example.org"), "url", "Testfile:2"},
	} {
		err := checkBlock(name, tc.block, tc.want)
		if err == nil && tc.line != "" {
			err = checkBlock(name, tc.block, tc.line)
		}
		if err != nil {
			faults = append(faults, err)
		}
	}
	return faults
}

// checkBlock reads a block, and returns an error if not that comes of it which Caddyfile wants.
func checkBlock(name, block, want string) error {
	d := caddyfile.NewTestDispenser(block)
	d.Next()
	module, err := caddyfile.UnmarshalModule(d, namespace+name)
	if !strings.HasPrefix(want, "{") {
		if err == nil || !strings.Contains(err.Error(), want) {
			return fmt.Errorf("%q: the error is %w, want %q in it", block, err, want)
		}
		return nil
	}
	settings, _ := json.Marshal(module)
	var compact bytes.Buffer
	if invalid := json.Compact(&compact, []byte(want)); err != nil || invalid != nil || compact.String() != string(settings) {
		return fmt.Errorf("%q became %s (%w), want %s", block, settings, errors.Join(err, invalid), want)
	}
	return nil
}
