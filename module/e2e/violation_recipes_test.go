package e2e_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

// startOwnRecipe runs a recipe of docs/cookbook.md behind a trusted proxy, which is the test. Its application answers as
// the text says. More texts are replaced by others.
func startOwnRecipe(t *testing.T, heading, host, application string, replace ...string) *running {
	t.Helper()
	site := testenv.FreeAddr(t)
	r := startRecipe(t, heading, append([]string{
		"{\n\tip_reputation {", "{\n\tservers {\n\t\ttrusted_proxies static 127.0.0.0/8\n\t\ttrusted_proxies_strict\n\t}\n\tip_reputation {",
		host + " {", "http://" + site + " {", "\n\tlog\n", "\n", "\treverse_proxy localhost:3000\n", application,
		"\t\tfeed blocklist_de\n", "", "\t\tfeed aws\n", "", "\t\tfeed hetzner\n", "",
	}, replace...)...)
	r.site = "http://" + site
	return r
}

// TestTheRecipeForHoneypots proves that one touch refuses, bans and is explained, and that it can be taken back.
func TestTheRecipeForHoneypots(t *testing.T) {
	r := startOwnRecipe(t, "Honeypot paths", "app.example.com", "\trespond passed\n")
	const scanner = "198.51.100.1"
	if got := r.request(t, scanner, "/.env"); got.status != 403 {
		t.Errorf("the trap is answered with %d", got.status)
	}
	if got := r.request(t, scanner, "/"); got.status != 403 {
		t.Errorf("the next request is answered with %d", got.status)
	}
	if got := r.request(t, "203.0.113.9", "/.env"); got.status != 200 {
		t.Errorf("our own scanner gets %d", got.status)
	}
	if why := r.awaitBan(t, scanner+"/32").Why; why.Rule != "violation trap" {
		t.Errorf("banned by %q", why.Rule)
	}
	r.ask(t, http.MethodDelete, "bans/"+scanner, "")
	if got := r.request(t, scanner, "/"); got.status != 200 { // the points of a violation's ban go with it
		t.Errorf("after unban: %d", got.status)
	}
}

// TestTheRecipeForLogins proves that mistyping costs nothing, that guessing is slowed and then refused, and that a
// cross-site log-in never reaches the application.
func TestTheRecipeForLogins(t *testing.T) {
	r := startOwnRecipe(t, "Guard a login", "shop.example.com", `
	@login path /login
	respond @login "wrong" 401
	respond passed
`, "\t\tredis redis.example.com { # one count for all instances\n\t\t\tpassword {file./run/secrets/redis}\n\t\t}\n", "", "/1m", "/1h")
	login := func(client string, lines ...string) int {
		t.Helper()
		return r.requestBy(t, http.MethodPost, client, "/login", lines...).status
	}
	const guesser = "198.51.100.1"
	statuses := map[int]int{}
	for n := 1; n <= 40; n++ {
		status := login(guesser)
		statuses[status]++
		switch score := r.scoreOf(t, guesser); {
		case n == 4 && score > 1:
			t.Errorf("four failures are a score of %d", score)
		case n == 10 && (score < 37 || score > 39):
			t.Errorf("ten failures are a score of %d", score)
		}
	}
	if statuses[401] < 14 || statuses[401] > 22 || statuses[401]+statuses[429]+statuses[403] != 40 {
		t.Errorf("forty guesses are answered with %v", statuses)
	}
	if got := r.request(t, guesser, "/"); got.status != 200 && got.status != 403 {
		t.Errorf("the guesser reads the shop with %d", got.status)
	}
	for range 20 {
		if got := login("198.51.100.2", "Sec-Fetch-Site: cross-site"); got != 403 {
			t.Fatalf("a log-in from a foreign page is answered with %d", got)
		}
	}
	if got := r.request(t, "198.51.100.2", "/"); got.status != 200 || r.scoreOf(t, "198.51.100.2") > 1 {
		t.Errorf("its sender has a score of %d", r.scoreOf(t, "198.51.100.2"))
	}
}

// TestTheRecipeForCrawlers proves that who follows the hidden link is banned, and who reads robots.txt is not.
func TestTheRecipeForCrawlers(t *testing.T) {
	r := startOwnRecipe(t, "A trap for crawlers", "docs.example.com", "\trespond passed\n",
		"exempt verified_bots google,bing,apple,duckduckgo", "")
	if got := r.request(t, "198.51.100.1", "/robots.txt"); got.status != 200 || !strings.Contains(got.body, "Disallow: /do-not-follow/") {
		t.Errorf("robots.txt is %d %s", got.status, got.body)
	}
	if got := r.request(t, "198.51.100.1", "/do-not-follow/", "Sec-Purpose: prefetch"); got.status != 404 {
		t.Errorf("a link that was loaded in advance is answered with %d", got.status)
	}
	if got := r.request(t, "198.51.100.1", "/"); got.status != 200 {
		t.Errorf("a good robot gets %d", got.status)
	}
	for _, path := range []string{"/do-not-follow/x", "/"} {
		if got := r.request(t, "198.51.100.2", path); got.status != 403 {
			t.Errorf("a bad robot gets %d for %s", got.status, path)
		}
	}
	if why := r.awaitBan(t, "198.51.100.2/32").Why; why.Rule != "violation crawler_trap" {
		t.Errorf("banned by %q", why.Rule)
	}
}

// TestTheRecipeForScrapers proves that a network is limited as one, however often its clients change, and that others are
// not.
func TestTheRecipeForScrapers(t *testing.T) {
	r := startOwnRecipe(t, "Scrapers that change their address", "shop.example.com", "\trespond passed\n",
		"exempt verified_bots google,bing", "", "\t\tmmdb /var/lib/GeoIP/GeoLite2-ASN.mmdb\n",
		"\t\tfeed 198.51.100.0/24 {\n\t\t\tname clouds\n\t\t\tnature hosting\n\t\t}\n", "600/1m", "60/1h", "30/1m", "30/1h")
	ask := func(network, path string, requests int) (passed int) {
		t.Helper()
		for n := range requests {
			if r.request(t, network+string(rune('0'+n/10))+string(rune('0'+n%10)), path).status == 200 {
				passed++
			}
		}
		return passed
	}
	if n := ask("198.51.100.1", "/products/1", 60); n < 30 || n > 32 {
		t.Errorf("%d of 60 requests of a rented network passed", n)
	}
	if n := ask("192.0.2.1", "/products/1", 80); n < 60 || n > 62 {
		t.Errorf("%d of 80 requests of another network passed", n)
	}
	if n := ask("198.51.100.1", "/", 10); n != 10 {
		t.Errorf("%d of 10 requests for other pages passed", n)
	}
}

// TestTheRecipeForWordPress proves that WordPress's own word counts, is not shown, and that its log-in page is no trap.
func TestTheRecipeForWordPress(t *testing.T) {
	r := startOwnRecipe(t, "WordPress", "blog.example.com", "",
		"\troot * /var/www/wordpress\n\tphp_fastcgi unix//run/php/php-fpm.sock\n\tfile_server\n", `
	@wrong {
		path /wp-login.php
		method POST
	}
	header @wrong X-IP-Reputation-Violation login_failed
	@there path / /wp-login.php
	respond @there page
	respond 404
`)
	const guesser, author = "198.51.100.1", "198.51.100.2"
	for n := range 6 {
		got := r.requestBy(t, http.MethodPost, guesser, "/wp-login.php")
		if got.status != 200 || got.header.Get("X-IP-Reputation-Violation") != "" {
			t.Errorf("log-in %d: %d %v", n, got.status, got.header)
		}
	}
	if score := r.scoreOf(t, guesser); score < 3 || score > 5 { // six points
		t.Errorf("six wrong passwords are a score of %d", score)
	}
	for range 20 {
		if got := r.request(t, author, "/wp-login.php"); got.status != 200 {
			t.Errorf("an author gets %d", got.status)
		}
	}
	for n := range 40 { // a cached page asks for the files of plugins that were updated since, and is loaded twice
		got := r.request(t, "198.51.100.4", "/wp-content/plugins/shop/chunk"+strconv.Itoa(n%20)+".js")
		if got.status != 404 {
			t.Fatalf("file %d of a cached page is answered with %d", n, got.status)
		}
	}
	if score := r.scoreOf(t, "198.51.100.4"); score > 1 {
		t.Errorf("a reader of a cached page has a score of %d", score)
	}
	for n := range 8 {
		r.request(t, "198.51.100.5", "/wp-content/plugins/known-hole-"+strconv.Itoa(n)+"/readme.txt")
	}
	if got := r.request(t, "198.51.100.5", "/"); got.status != 403 {
		t.Errorf("who looks for plugins with holes gets %d", got.status)
	}
	for path, want := range map[string]int{"/xmlrpc.php": 403, "/wp-config.php.bak": 403} {
		if got := r.request(t, "198.51.100.3", path); got.status != want {
			t.Errorf("%s is answered with %d", path, got.status)
		}
	}
}
