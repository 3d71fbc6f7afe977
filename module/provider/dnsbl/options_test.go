package dnsbl

import (
	"strings"
	"testing"
)

// The settings are checked as JSON, too.
func TestSettingsThatContradict(t *testing.T) {
	for config, cure := range map[string]string{
		`{}`:                          "use one of authbl, barracuda, dqs, dronebl, httpbl, s5h, spamcop, torexit, zen",
		`{"list": "zenn"}`:            `unknown list "zenn": use one of`,
		`{"list": "192.0.2.1"}`:       "or the name of a zone such as bl.example.org",
		`{"list": "bl..example"}`:     "unknown list",
		`{"list": "{address}.x.org"}`: "unknown list",
		`{"list": "a.{key}.x.org"}`:   "unknown list",
		`{"list": "` + strings.Repeat("x.", 100) + `org"}`:                                 "unknown list",
		`{"list": "` + dqsKey + `.zen.dq.spamhaus.net"}`:                                   "write `provider dnsbl dqs`, and the key by `key`",
		`{"list": "` + honeyPotKey + `.dnsbl.httpbl.org"}`:                                 "write `provider dnsbl httpbl`",
		`{"list": "` + dqsKey + `.zen.dq.spamhaus.net.."}`:                                 "write `provider dnsbl dqs`",
		`{"list": "bl.example.org.."}`:                                                     "unknown list",
		`{"list": "pbl.spamhaus.org", "category": ["spam"]}`:                               "remove category",
		`{"list": "zen", "category": ["spam"]}`:                                            "remove category",
		`{"list": "bl.example.org", "category": ["spams"]}`:                                `unknown category "spams"`,
		`{"list": "bl.example.org", "category": ["spam"], "codes": {"127.0.0.2": "spam"}}`: "contradict each other",
		`{"list": "bl.example.org", "codes": {"127.0.0.2": "spams"}}`:                      `unknown category "spams"`,
		`{"list": "bl.example.org", "codes": {"127.255.255.254": "spam"}}`:                 "by which lists refuse",
		`{"list": "bl.example.org", "codes": {"127.0.0.1": "spam"}}`:                       "by which lists refuse",
		`{"list": "bl.example.org", "codes": {"4": "spam"}}`:                               "such as 127.0.0.4",
		`{"list": "httpbl", "codes": {"127.0.0.2": "spam"}}`:                               "remove code",
		`{"list": "httpbl", "ipv6": true}`:                                                 "remove ipv6",
		`{"list": "zen", "weight": 60}`:                                                    "one DNS list is no proof",
		`{"list": "zen", "weight": -1}`:                                                    "out of range",
		`{"list": "zen", "group": "No"}`:                                                   `group "No"`,
		`{"list": "zen", "resolvers": ["::1", "::2", "::3", "::4", "::5"]}`:                "at most 4",
	} {
		_, err := provision(t, config)
		if err == nil || !strings.Contains(err.Error(), cure) {
			t.Errorf("%s: %v\nwant %q", config, err, cure)
		}
		if err != nil && (strings.Contains(err.Error(), dqsKey) || strings.Contains(err.Error(), honeyPotKey+".")) {
			t.Errorf("%s: the key is in the error: %v", config, err)
		}
	}
}
