package routes

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestTrustedProxies holds that Caddy's own type can still be read as it is loaded.
func TestTrustedProxies(t *testing.T) {
	load := func(text string) *caddyhttp.Server {
		cfg := &caddy.Config{
			Admin:   &caddy.AdminConfig{Disabled: true},
			AppsRaw: caddy.ModuleMap{"http": []byte(`{"servers":{"s":{"listen":["127.0.0.1:0"]` + text + `}}}`)},
		}
		ctx, err := caddy.ProvisionContext(cfg)
		if err != nil {
			t.Fatal(err)
		}
		app, err := ctx.App("http")
		if err != nil {
			t.Fatal(err)
		}
		return app.(*caddyhttp.App).Servers["s"]
	}
	for text, want := range map[string][]string{
		"":                                       nil,
		`,"trusted_proxies":{"source":"static"}`: nil,
		`,"trusted_proxies":{"source":"static","ranges":["198.51.100.0/24","2001:db8::1"]}`: {"198.51.100.0/24", "2001:db8::1/128"},
	} {
		var got []string
		for _, p := range TrustedProxies(map[string]*caddyhttp.Server{"s": load(text)}) {
			got = append(got, netip.Prefix.String(p))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v", text, got)
		}
	}
}
