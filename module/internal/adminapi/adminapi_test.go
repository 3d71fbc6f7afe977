package adminapi

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/health"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// TestJSON holds the names and the order of members, and which of them are missing when they are empty.
func TestJSON(t *testing.T) {
	address, subject := netip.MustParseAddr("2001:db8::5"), netip.MustParsePrefix("2001:db8::/64")
	for name, tc := range map[string]struct {
		value any
		want  string
	}{
		"check": {
			Check{
				Address: address, Subject: subject, LoggedAs: "2001:db8::/48", Score: new(uint8(50)), Percent: new(50.25), Status: "fresh",
				Coverage: .5, Prior: new(-20.0), Points: new(.044), Sum: "-20 + 20.044", Categories: []string{"abuse"}, Reserved: true,
				Reasons:   []Reason{{Source: "abuseipdb", Points: 20.044, Categories: []string{"abuse"}, AgeSeconds: 60}},
				Facts:     Facts{Country: "NL", ASN: 64496, ASName: "Example", Network: "2001:db8::/32", Nature: map[string]bool{"tor": true, "vpn": false}},
				Lists:     []ListEntry{{Name: "tor_exits", Kind: "feed", Source: "example.org"}},
				Overrides: []ban.Entry{}, Next: []string{},
				Providers: []ProviderAnswer{{
					Name: "abuseipdb", Failed: true, Due: noon, Problem: "away",
					Answer: &Answer{Severity: .9, Confidence: .5, Categories: []string{}, Fetched: noon},
				}},
			},
			`{"address":"2001:db8::5","subject":"2001:db8::/64","logged_as":"2001:db8::/48","score":50,"percent":50.25,"status":"fresh",` +
				`"coverage":0.5,"prior":-20,"points":0.044,"sum":"-20 + 20.044",` +
				`"reasons":[{"source":"abuseipdb","points":20.044,"categories":["abuse"],"age_seconds":60}],"categories":["abuse"],` +
				`"facts":{"country":"NL","asn":64496,"as_name":"Example","network":"2001:db8::/32","nature":{"tor":true,"vpn":false}},` +
				`"reserved":true,"lists":[{"name":"tor_exits","kind":"feed","source":"example.org"}],"overrides":[],"violations":null,` +
				`"providers":[{"name":"abuseipdb","answer":{"severity":0.9,"confidence":0.5,"categories":[],"fetched":"2026-11-26T12:00:00Z"},` +
				`"failed":true,"due":"2026-11-26T12:00:00Z","problem":"away"}],"next":[]}`,
		},
		"check without a score": {
			Check{Address: address, Subject: subject, Status: "exempt", Providers: []ProviderAnswer{{Name: "abuseipdb"}}},
			`{"address":"2001:db8::5","subject":"2001:db8::/64","status":"exempt","coverage":0,"reasons":null,"categories":null,"facts":{},` +
				`"lists":null,"overrides":null,"violations":null,"providers":[{"name":"abuseipdb","failed":false}],"next":null}`,
		},
		"forgotten":              {Forgotten{Subject: subject, Forgotten: true}, `{"subject":"2001:db8::/64","forgotten":true}`},
		"forgotten here only":    {Forgotten{Subject: subject, Warning: "redis is away"}, `{"subject":"2001:db8::/64","forgotten":false,"warning":"redis is away"}`},
		"override":               {Override{Prefix: "203.0.113.5", TTL: "1h", Reason: "a test"}, `{"prefix":"203.0.113.5","ttl":"1h","reason":"a test"}`},
		"override without a ttl": {Override{Prefix: "203.0.113.5"}, `{"prefix":"203.0.113.5"}`},
		"key": {
			Key{
				Provider: "abuseipdb", Fingerprint: "ab12", Source: "{env.KEY}", State: health.KeySetAside, SetAside: noon, Retry: noon,
				Refreshed: noon, Expires: noon, DaysLeft: new(-1), Lease: true, Error: "away",
			},
			`{"provider":"abuseipdb","fingerprint":"ab12","source":"{env.KEY}","state":"set_aside","set_aside":"2026-11-26T12:00:00Z",` +
				`"retry":"2026-11-26T12:00:00Z","refreshed":"2026-11-26T12:00:00Z","expires":"2026-11-26T12:00:00Z","days_left":-1,` +
				`"lease":true,"error":"away"}`,
		},
		"key without a value": {Key{Provider: "abuseipdb", State: health.KeyWaiting}, `{"provider":"abuseipdb","state":"waiting"}`},
		"status": {
			Status{Version: Versions{"1", "2", "3"}, DataFolder: "/data", Memory: health.Memory{Records: 1, Capacity: 2, Evictions: 3}, Bans: 4, Exemptions: 5},
			`{"version":{"plugin":"1","caddy":"2","go":"3"},"health":{"status":"","warnings":null},"data_folder":"/data","providers":null,` +
				`"lists":null,"databases":null,"memory":{"records":1,"capacity":2,"evictions":3},"bans":4,"exemptions":5,"warnings":null}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := json.Marshal(tc.value)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestEmbedded holds that the members of what is embedded stand beside those of the answer.
func TestEmbedded(t *testing.T) {
	for name, tc := range map[string]struct {
		value any
		begin string
		has   string
	}{
		"a list begins with its role":    {health.List{Role: "feed"}, `{"role":"feed","name":"`, ""},
		"a provider ends with a problem": {ProviderStatus{Problem: "away"}, `{"name":"`, `,"problem":"away"}`},
		"an entry ends with remarks":     {OverrideAnswer{Note: "a", Warning: "b"}, `{"prefix":"`, `,"note":"a","warning":"b"}`},
		"a timeline ends with the graph": {Timeline{Graph: new(history.Graph)}, `{`, `,"graph":{`},
	} {
		got, err := json.Marshal(tc.value)
		if err != nil || !strings.HasPrefix(string(got), tc.begin) || !strings.Contains(string(got), tc.has) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

func TestFormat(t *testing.T) {
	for points, want := range map[float64]string{0: "0", -20: "-20", 28.8: "28.8", .001: "0.001"} {
		if got := FormatPoints(points); got != want {
			t.Errorf("%v points are %q, want %q", points, got, want)
		}
	}
	if ban, exemption := StateOf(ban.Ban), StateOf(ban.Exemption); ban != "banned" || exemption != "exempt" {
		t.Errorf("the states are %q and %q", ban, exemption)
	}
}

func TestParsePast(t *testing.T) {
	for text, want := range map[string][2]string{ // begin and end
		"2026-11-24":           {"2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"},
		"2026-11-24T16:00:00Z": {"2026-11-24T16:00:00Z", "2026-11-24T16:00:00Z"},
		"24h":                  {"2026-11-25T12:00:00Z", "2026-11-25T12:00:00Z"},
		"7d":                   {"2026-11-19T12:00:00Z", "2026-11-19T12:00:00Z"},
	} {
		for i, end := range []bool{false, true} {
			if got, err := ParsePast("from", text, noon, end); err != nil || got.UTC().Format(time.RFC3339) != want[i] {
				t.Errorf("%s, end %t: %v, %v, want %s", text, end, got, err, want[i])
			}
		}
	}
	for _, text := range []string{"", "yesterday", "2026-13-01", "2026-11-24 16:00"} {
		_, err := ParsePast("--since", text, noon, false)
		if err == nil || !strings.HasPrefix(err.Error(), `--since "`+text+`" is no time: write a day such as 2026-11-24`) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCheckPeriod(t *testing.T) {
	before, after := noon.Add(-time.Hour), noon.Add(time.Hour)
	for _, tc := range []struct {
		from, to time.Time
		want     string
	}{
		{want: ""},
		{from: before},
		{to: before},
		{from: before, to: noon},
		{from: after, want: "from 2026-11-26T13:00:00Z lies ahead"},
		{from: noon, want: "from 2026-11-26T12:00:00Z lies ahead"},
		{from: noon, to: before, want: "from 2026-11-26T12:00:00Z is not before to 2026-11-26T11:00:00Z: write an earlier one"},
		{from: noon, to: noon, want: "is not before"},
	} {
		err := CheckPeriod(history.Period{From: tc.from, To: tc.to}, noon, "from", "to")
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("from %v to %v: %v, want %q", tc.from, tc.to, err, tc.want)
		}
	}
}
