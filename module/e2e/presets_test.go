package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// TestTheRecipeForClouds proves of docs/cookbook.md's recipe that clouds are refused where the rule stands, that a CDN can
// be asked for, and that a relay is not punished for standing in data centres. Lists that are fetched are files here.
func TestTheRecipeForClouds(t *testing.T) {
	dir, site := t.TempDir(), testenv.FreeAddr(t)
	list := func(name, text, options string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path + options
	}
	of := func(name, text, meaning string) string {
		return "feed " + list(name, text, " {\n\t\t\tname "+name+"\n\t\t\t"+meaning+"\n\t\t}") + "\n"
	}
	const (
		inAWS, inAzure, inCloudflare = "203.0.113.1", "203.0.113.2", "203.0.113.3"
		vpn, relay, home             = "203.0.113.4", "203.0.113.5", "203.0.113.6"
	)
	startRecipe(t, "Clouds, CDNs and relays",
		"{\n\tip_reputation {", "{\n\tservers {\n\t\ttrusted_proxies static 127.0.0.0/8\n\t\ttrusted_proxies_strict\n\t}\n\tip_reputation {",
		"feed aws\n", of("aws", inAWS, "nature hosting"),
		"feed azure /var/lib/caddy-ip-reputation/azure.json", "feed azure "+
			list("azure.json", `{"values": [{"name": "A", "properties": {"addressPrefixes": ["`+inAzure+`/32"]}}]}`, ""),
		"feed hetzner\n", of("hetzner", "192.0.2.0/25", "nature hosting"),
		"feed x4bnet_vpn\n", of("x4bnet_vpn", vpn+"\n"+relay, "nature vpn"),
		"feed cloudflare\n", of("cloudflare", inCloudflare, "nature mobile"), // which gives no points, either
		"feed icloud_private_relay\n", of("icloud_private_relay", relay, "nature relay"),
		"shop.example.com", "http://"+site, "/1m", "/1h", "\n\tlog\n", "\n", "reverse_proxy localhost:3000", "respond {http.ip_reputation.reasons}",
	)
	visit := func(client, path string) reply {
		return send(t, http.MethodGet, "http://"+site+path, "", http.Header{"X-Forwarded-For": {client}})
	}
	for _, client := range []string{inAWS, inAzure} {
		if login, shop := visit(client, "/login"), visit(client, "/"); login.status != 403 || shop.status != 200 {
			t.Errorf("%s: %d, and %d elsewhere", client, login.status, shop.status)
		}
	}
	if healthy, other := visit(inCloudflare, "/healthz"), visit(home, "/healthz"); healthy.status != 204 || other.status != 200 {
		t.Errorf("the health check: %d, and %d for others", healthy.status, other.status)
	}
	for client, want := range map[string]struct {
		logins  int
		reasons string
	}{
		vpn:   {5, "x4bnet_vpn;points=4.8"},
		relay: {20, "icloud_private_relay;points=0.0"},
		home:  {20, ""},
	} {
		var logins int
		for logins = 0; visit(client, "/login").status == 200 && logins < 100; logins++ {
		}
		if got := visit(client, "/").body; logins != want.logins || strings.TrimSpace(got) != want.reasons {
			t.Errorf("%s: %d requests passed, for the reasons %q; want %+v", client, logins, got, want)
		}
	}
}
