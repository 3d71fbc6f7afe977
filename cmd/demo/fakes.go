package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// showHeaders is the application: it answers with the headers about the client.
func showHeaders(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "This is the application. Caddy told it:")
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if strings.HasPrefix(name, "X-Ip-Reputation-") || name == "X-Request-Id" {
			fmt.Fprintf(w, "%s: %s\n", name, strings.Join(r.Header[name], ", ")) //nolint:gosec // plain text
		}
	}
}

// The fake of AbuseIPDB has the path of version 2 of the real API, and accepts one key.
const (
	servicePath = "/api/v2"
	serviceKey  = "key-of-the-demo"
)

// standing is what the fake service knows about an address.
type standing struct {
	score, reports, reporters int
	country, usage            string
}

// standings are the addresses that were reported. All others are clean.
var standings = map[netip.Addr]standing{
	netip.MustParseAddr("203.0.113.10"): {100, 1240, 60, "NL", "Data Center/Web Hosting/Transit"},
	netip.MustParseAddr("203.0.113.50"): {50, 31, 10, "US", "Fixed Line ISP"},
}

// answerCheck answers in the format of https://docs.abuseipdb.com/#check-endpoint.
func answerCheck(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || r.URL.Path != servicePath+"/check" {
		refuse(w, http.StatusNotFound, "The stand-in knows GET /check only.")
		return
	}
	if r.Header.Get("Key") != serviceKey {
		refuse(w, http.StatusUnauthorized,
			"Authentication failed. Your API key is either missing, incorrect, or revoked.")
		return
	}
	addr, err := netip.ParseAddr(r.URL.Query().Get("ipAddress"))
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity,
			"The ip address must be a valid IPv4 or IPv6 address (e.g. 8.8.8.8 or 2001:4860:4860::8888).")
		return
	}
	version := 4
	if addr.Is6() {
		version = 6
	}
	known := standings[addr]
	data := map[string]any{
		"ipAddress":            addr.String(),
		"isPublic":             true,
		"ipVersion":            version,
		"isWhitelisted":        nil,
		"abuseConfidenceScore": known.score,
		"countryCode":          nil,
		"usageType":            nil,
		"isp":                  nil,
		"domain":               nil,
		"hostnames":            []string{},
		"isTor":                false,
		"totalReports":         known.reports,
		"numDistinctUsers":     known.reporters,
		"lastReportedAt":       nil,
	}
	if known.reports > 0 {
		data["countryCode"], data["usageType"] = known.country, known.usage
		data["lastReportedAt"] = time.Now().UTC().Add(-time.Hour).Format("2006-01-02T15:04:05-07:00")
	}
	w.Header().Set("X-RateLimit-Limit", "1000")
	w.Header().Set("X-RateLimit-Remaining", "999")
	reply(w, http.StatusOK, map[string]any{"data": data})
}

// refuse answers with an error in the service's format.
func refuse(w http.ResponseWriter, status int, detail string) {
	reply(w, status, map[string]any{"errors": []any{map[string]any{"detail": detail, "status": status}}})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		fmt.Fprintln(os.Stderr, "demo: the stand-in for AbuseIPDB could not answer:", err)
	}
}

// sampleLists are the lists of the fake publisher.
//
//go:embed lists
var sampleLists embed.FS

// writeFeeds writes the part of the configuration that REPUTATION_FEEDS names: the
// lists of the publisher at host.
func writeFeeds(dir, host string) (path string, err error) {
	path = filepath.Join(dir, "feeds.caddyfile")
	text := fmt.Sprintf(`feed http://%[1]s/lists/attackers.txt {
	name     sample_attackers
	category bruteforce
}
feed http://%[1]s/lists/tor_exits.txt {
	name   sample_tor_exits
	nature tor
}
`, host)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("writing the feeds of the demo: %w", err)
	}
	return path, nil
}
